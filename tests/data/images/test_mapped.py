from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import little_folder

from fewshot_cli import data
from fewshot_cli.data.images import decoding, mapped
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.images.mapped import Mapped
from fewshot_cli.data.images.tree import Picture
from fewshot_cli.data.task import TaskShape
from fewshot_cli.settings.compose import job_config

SHAPE = 5, 3, 4, 4


def pictures() -> Iterator[Picture]:
    for number in range(SHAPE[0]):
        yield np.full(SHAPE[1:], number, np.uint8)


def never() -> Iterator[Picture]:
    raise AssertionError("they lie in the cache")


def test_images_lie_in_a_file_that_is_made_once(tmp_path: Path) -> None:
    images, digests = mapped.mapped(str(tmp_path), "x", {"size": 4}, SHAPE, pictures)
    again, _ = mapped.mapped(str(tmp_path), "x", {"size": 4}, SHAPE, never)
    assert torch.equal(images, again)
    assert images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert [bytes(row) for row in digests.numpy()] == [mapped.digest(image) for image in images]
    assert not list(tmp_path.glob("*.tmp"))


def test_what_is_not_whole_is_made_again(tmp_path: Path) -> None:
    def cut() -> Iterator[Picture]:
        yield next(pictures())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mapped.mapped(str(tmp_path), "x", {}, SHAPE, cut)
    assert not list(tmp_path.glob("*.npy"))
    images, _ = mapped.mapped(str(tmp_path), "x", {}, SHAPE, pictures)
    assert len(images) == 5


@pytest.mark.parametrize("invert", ["false", "true"])
def test_a_folder_too_large_for_the_memory_has_the_same_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invert: str
) -> None:
    thirds = [f"data.fractions.{split}={1 / 3}" for split in ("train", "valid", "test")]
    root = little_folder(tmp_path / "folder")
    config = job_config(
        ["data=folder", f"data.root='{root}'", "ways=3", f"data.invert={invert}", *thirds]
    )
    found = []
    for limit in (decoding.TOO_MANY, 0):
        monkeypatch.setattr(decoding, "TOO_MANY", limit)
        data._held.clear()
        source = data.load(config.data, str(tmp_path / str(limit)), torch.device("cpu"))
        assert isinstance(source, ImageTasks)
        assert isinstance(source.images["train"], Mapped) is (limit == 0)
        found.append(source)
    data._held.clear()
    plain, large = found
    draws = [torch.Generator().manual_seed(1) for _ in found]
    for split in ("train", "valid", "test"):
        tasks = [
            source.sample(split, 3, TaskShape(3, 2, 4), draw)
            for source, draw in zip(found, draws, strict=True)
        ]
        for one, other in zip(tasks[0].fields(), tasks[1].fields(), strict=True):
            assert torch.equal(one, other)
    assert large.digests("test") != large.digests("train")
    assert len(large.fingerprint) == len(plain.fingerprint)


def test_a_changed_file_is_another_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "TOO_MANY", 0)
    thirds = [f"data.fractions.{split}={1 / 3}" for split in ("train", "valid", "test")]
    root = little_folder(tmp_path / "folder")
    config = job_config(["data=folder", f"data.root='{root}'", "ways=3", *thirds])
    prints = []
    for _ in range(2):
        data._held.clear()
        source = data.load(config.data, str(tmp_path / "cache"), torch.device("cpu"))
        assert isinstance(source, ImageTasks)
        prints.append(source.fingerprint)
        first, second = sorted(root.rglob("*.png"))[:2]
        os.replace(second, first)
        second.write_bytes(first.read_bytes())
    data._held.clear()
    assert prints[0] != prints[1]
