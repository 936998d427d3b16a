from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fewshot_cli import models
from fewshot_cli.inference.images import BATCH, Form, query_files
from fewshot_cli.inference.model import Judge, Model
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import ModelConfig

CPU = torch.device("cpu")
GREY = Form((1, 8, 8), invert=True)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """More than three batches of grey images, each another one, in two folders."""
    generator = torch.Generator().manual_seed(0)
    for place in range(3 * BATCH + 7):
        file = tmp_path / "photos" / "ab"[place % 2] / f"{place:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = torch.randint(256, (8, 8), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(file)
    return tmp_path / "photos"


def model(form: Form, together: bool) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = models.Network(
            *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
            *(nn.Flatten(), nn.Linear(4 * 36, 2)),
        )
        judge = Judge(net, torch.rand(4, 1, 8, 8), together)
    return Model(judge, ModelConfig(), ["a", "b"], form, together, CPU)


@pytest.mark.parametrize("together", [True, False])
def test_batches_change_no_answer(photos: Path, together: bool) -> None:
    judging, files = model(GREY, together), query_files(photos)
    said = judging.predict(photos)
    at_once = judging.probabilities(GREY.read(files).images)
    assert torch.equal(said.probabilities, at_once)
    assert said.files == [file.relative_to(photos).as_posix() for file in files]


def test_broken_images_are_left_out_and_the_rest_goes_on(photos: Path) -> None:
    files = query_files(photos)
    broken = [files[3], *files[BATCH : 2 * BATCH]]  # a whole batch among them
    before = model(GREY, together=False).predict(photos)
    for file in broken:
        file.write_bytes(b"no image")
    after = model(GREY, together=False).predict(photos)
    names = [file.relative_to(photos).as_posix() for file in broken]
    assert list(after.left_out) == names
    kept = [place for place, name in enumerate(before.files) if name not in names]
    assert after.files == [before.files[place] for place in kept]
    assert torch.equal(after.probabilities, before.probabilities[kept])


def test_where_all_are_broken_the_first_is_named(tmp_path: Path) -> None:
    for name in "ba":
        (tmp_path / f"{name}.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"a.png: expected an image \(not an image"):
        model(GREY, together=False).predict(tmp_path)


def test_thumbnails_are_as_in_the_files(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 0).save(tmp_path / "black.png")
    assert int(model(GREY, together=False).predict(tmp_path / "black.png").thumbnails[0].max()) == 0


@pytest.mark.parametrize("together", [True, False])
def test_memory_does_not_grow_with_the_images_unless_they_are_one_batch(
    photos: Path, together: bool
) -> None:
    """numpy's memory, in which images are decoded; of 200 images all have 77 MB, a batch 25."""

    def judge(images: Tensor) -> Tensor:
        return torch.full((len(images), 2), 0.5)

    large = Form((3, 360, 360), invert=False)
    judging = Model(judge, ModelConfig(), ["a", "b"], large, together, CPU)
    tracemalloc.start()
    said = judging.predict(photos)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    of_all = len(said.files) * 3 * 360 * 360
    assert (peak > of_all) == together
    assert peak < 3 * of_all
