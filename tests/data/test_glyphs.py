from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import config

from fewshot_cli.data import glyphs
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.task import TaskShape
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import DataConfig

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def letters(cache_dir: Path) -> ImageTasks:
    return glyphs.load(config().data, str(cache_dir), CPU)  # checks the numbers of classes, too


def test_no_script_of_one_split_is_in_another(letters: ImageTasks) -> None:
    scripts = {
        split: {name.partition("/")[0] for name in names} for split, names in letters.names.items()
    }
    for split, found in scripts.items():
        assert found == set(glyphs.SCRIPTS[split])
    assert sum(map(len, scripts.values())) == len(set().union(*scripts.values()))


def test_every_letter_has_its_samples_and_they_differ(letters: ImageTasks) -> None:
    for split, names in letters.names.items():
        images = letters.images[split].numpy()
        assert len(images) == len(names)
        assert images.shape[1:] == (20, 1, 28, 28)
        assert images.dtype == np.uint8
        flat = images.reshape(*images.shape[:2], -1).astype(int)
        assert (flat.sum(-1) > 5 * 255).all()  # ink everywhere
        assert (np.abs(np.diff(flat, axis=1)).sum(-1) > 0).all()


def test_letters_that_look_the_same_appear_once(letters: ImageTasks) -> None:
    codes = {
        name.rpartition(" ")[0].partition("+")[2]
        for names in letters.names.values()
        for name in names
    }
    assert f"{ord('A'):04X}" in codes
    for twin in "ΑАСсοо":  # Greek Alpha, Cyrillic A, Es, es, Greek omicron, Cyrillic o
        assert f"{ord(twin):04X}" not in codes
    for small in "csvwxz":  # their capitals at another size
        assert f"{ord(small):04X}" not in codes
        assert f"{ord(small.upper()):04X}" in codes
    assert {f"{ord(letter):04X}" for letter in "aegn"} <= codes
    assert f"{ord('Ж'):04X}" in codes


def test_images_are_ink_on_an_empty_ground(letters: ImageTasks) -> None:
    batch = letters.sample("test", 20, TaskShape(5, 1, 1), torch.Generator().manual_seed(0))
    assert batch.support_x.min() == 0
    assert batch.support_x.max() == 1
    assert batch.support_x.mean() < 0.3
    assert batch.support_x[..., 0, 0].max() == 0


def test_classes_are_named_by_script_and_letter(letters: ImageTasks) -> None:
    assert "Greek/U+03A9 Ω" in letters.names["valid"]
    for name in (name for names in letters.names.values() for name in names):
        place, _, letter = name.rpartition(" ")
        assert place.endswith(f"/U+{ord(letter):04X}")


def test_other_numbers_of_letters_than_the_config_says(cache_dir: Path) -> None:
    wrong: DataConfig = config("data.classes.valid=5").data
    with pytest.raises(UserError, match=r"classes\.valid=5: these fonts have 2"):
        glyphs.load(wrong, str(cache_dir), CPU)
