from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import config
from torch import Tensor

from fewshot_cli import models
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.images.mapped import digest
from fewshot_cli.data.task import TaskShape
from fewshot_cli.models.features import BATCH, FOLDER, Frozen, FrozenTasks, features_of
from fewshot_cli.settings.errors import UserError

SIZE, WIDTH = 32, 1280
SHAPE = TaskShape(ways=3, shots=2, queries=2)


def frozen(cache: Path, *overrides: str) -> Frozen:
    torch.manual_seed(0)
    still, _ = models.build(config("model=lite0", *overrides).model, (3, SIZE, SIZE), 3).split()
    assert still is not None
    return Frozen(still, {}, str(cache), bf16=False)


def pictures(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = count, 3, SIZE, SIZE
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


def source(table: Tensor) -> ImageTasks:
    tables = dict.fromkeys(("train", "valid", "test"), table.view(4, -1, 3, SIZE, SIZE))
    return ImageTasks(tables, torch.device("cpu"))


def database(cache: Path) -> Path:
    (found,) = (cache / FOLDER).glob("*.db")
    return found


def rows(cache: Path) -> int:
    with sqlite3.connect(database(cache)) as store:
        count: int = store.execute("SELECT count(*) FROM features").fetchone()[0]
    return count


def counted(of: Tensor, seen: list[int]) -> Callable[[list[int]], Tensor]:
    def images(places: list[int]) -> Tensor:
        seen.extend(places)
        return of[places].float() / 255

    return images


def names(of: Tensor) -> list[bytes]:
    return [digest(image) for image in of]


def test_each_image_is_computed_once_for_all_runs(tmp_path: Path) -> None:
    table, seen = pictures(40), list[int]()
    doubled = torch.cat([table, table[:5]])  # the same photograph twice
    one = features_of(frozen(tmp_path), names(doubled), counted(doubled, seen), (WIDTH,))
    assert sorted(seen) == list(range(40))
    again = features_of(frozen(tmp_path), names(doubled), counted(doubled, seen), (WIDTH,))
    assert len(seen) == 40
    assert torch.equal(one, again)
    assert torch.equal(one[:5], one[40:])
    with torch.no_grad():
        expected = frozen(tmp_path).net(table.float() / 255)
    assert torch.allclose(one[:40], expected, atol=1e-4)


def test_an_image_s_features_do_not_depend_on_the_others(tmp_path: Path) -> None:
    table = pictures(BATCH + 3)
    whole = features_of(frozen(tmp_path / "a"), names(table), counted(table, []), (WIDTH,))
    for places in (torch.arange(BATCH + 3).flip(0), torch.tensor([7]), torch.arange(1, 9)):
        some = table[places]
        cache = tmp_path / str(len(places))
        found = features_of(frozen(cache), names(some), counted(some, []), (WIDTH,))
        assert torch.equal(found, whole[places])


def test_another_pixel_or_weight_is_another_key(tmp_path: Path) -> None:
    table, seen = pictures(3), list[int]()
    features_of(frozen(tmp_path), names(table), counted(table, seen), (WIDTH,))
    table[1, 0, 0, 0] ^= 1
    features_of(frozen(tmp_path), names(table), counted(table, seen), (WIDTH,))
    assert seen == [0, 1, 2, 1]
    other = frozen(tmp_path)
    with torch.no_grad():
        next(other.net.parameters())[0, 0, 0, 0] += 1e-3
    changed = Frozen(other.net, {}, str(tmp_path), bf16=False)
    assert changed.key != other.key
    assert Frozen(other.net, {}, str(tmp_path), bf16=True).key != changed.key
    assert frozen(tmp_path, "model.feature_norm=null").key == frozen(tmp_path).key


def test_an_interruption_keeps_what_was_done(tmp_path: Path) -> None:
    table, seen = pictures(3 * BATCH), list[int]()
    images = counted(table, seen)

    def interrupted(places: list[int]) -> Tensor:
        if len(seen) >= 2 * BATCH:
            raise KeyboardInterrupt
        return images(places)

    with pytest.raises(KeyboardInterrupt):
        features_of(frozen(tmp_path), names(table), interrupted, (WIDTH,))
    assert rows(tmp_path) == 2 * BATCH
    features_of(frozen(tmp_path), names(table), images, (WIDTH,))
    assert seen == list(range(3 * BATCH))


def test_a_damaged_value_is_computed_again(tmp_path: Path) -> None:
    table, seen = pictures(2), list[int]()
    before = features_of(frozen(tmp_path), names(table), counted(table, seen), (WIDTH,))
    with sqlite3.connect(database(tmp_path)) as store:
        (value,) = store.execute("SELECT value FROM features LIMIT 1").fetchone()
        wrong = value[:8] + bytes([value[8] ^ 1]) + value[9:]
        store.execute("UPDATE features SET value = ? WHERE value = ?", (wrong, value))
    after = features_of(frozen(tmp_path), names(table), counted(table, seen), (WIDTH,))
    assert len(seen) == 3
    assert torch.equal(before, after)


def test_a_file_that_is_no_cache_is_named(tmp_path: Path) -> None:
    table = pictures(1)
    features_of(frozen(tmp_path), names(table), counted(table, []), (WIDTH,))
    database(tmp_path).write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match=r"\.db: .*; expected .*fewshot cache --clear features"):
        features_of(frozen(tmp_path), names(table), counted(table, []), (WIDTH,))


def test_the_tasks_are_those_of_the_images(tmp_path: Path) -> None:
    plain = source(pictures(24))
    tasks, drawn = (
        each.sample("test", 2, SHAPE, torch.Generator().manual_seed(3))
        for each in (FrozenTasks(plain, frozen(tmp_path)), plain)
    )
    assert tasks.support_x.shape == (2, 6, WIDTH)
    assert tasks.classes is not None
    assert drawn.classes is not None
    assert torch.equal(tasks.classes, drawn.classes)
    with torch.no_grad():
        seen = frozen(tmp_path)(drawn.query_x.flatten(0, 1)).view_as(tasks.query_x)
    assert torch.equal(seen, tasks.query_x)


def test_augmented_images_are_new_ones(tmp_path: Path) -> None:
    plain = source(pictures(24))
    plain.augment = lambda images, generator: 1 - images
    tasks = FrozenTasks(plain, frozen(tmp_path))
    train = tasks.sample("train", 1, SHAPE, torch.Generator().manual_seed(3))
    test = tasks.sample("test", 1, SHAPE, torch.Generator().manual_seed(3))
    assert not torch.allclose(train.support_x, test.support_x)
    assert rows(tmp_path) == 24
