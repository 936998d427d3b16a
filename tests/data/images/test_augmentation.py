from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from fewshot_cli.data.images.augmentation import build, warped
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.task import TaskShape
from fewshot_cli.settings.schema import Augment

SIZE = 6


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def images(count: int = 40) -> Tensor:
    """Colour images, all alike and nowhere symmetric."""
    ramp = torch.arange(float(3 * SIZE * SIZE)).view(3, SIZE, SIZE) / (3 * SIZE * SIZE)
    return ramp.expand(count, -1, -1, -1).clone()


def augmented(config: Augment, count: int = 40) -> Tensor:
    augment = build(config, SIZE)
    assert augment is not None
    return augment(images(count), generator())


def test_nothing_asked_is_nothing_done() -> None:
    assert build(Augment(), SIZE) is None
    code = "import fewshot_cli.data.images.episodes, sys; assert 'torchvision' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_about_half_of_the_images_are_flipped() -> None:
    changed, same = augmented(Augment(flip=True)), images()
    flipped = (changed == same.flip(-1)).flatten(1).all(1)
    assert torch.equal(flipped, ~(changed == same).flatten(1).all(1))
    assert 10 < int(flipped.sum()) < 30


def test_crops_keep_the_size_and_move_each_image_by_its_own_draw() -> None:
    changed = augmented(Augment(crop=2), count=400)
    assert changed.shape == (400, 3, SIZE, SIZE)
    assert len(changed.unique(dim=0)) == 25  # five places across and five down
    moved = images()[0, :, 1:, 1:]  # one pixel to the left and up
    assert any(torch.equal(one[:, :-1, :-1], moved) for one in changed)


def test_colour_changes_within_its_bounds() -> None:
    changed = augmented(Augment(colour=0.2))
    assert len(changed.unique(dim=0)) == len(changed)
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    assert 0 < float((changed - images()).abs().max()) < 0.5


def test_grey_images_too() -> None:
    augment = build(Augment(flip=True, crop=1, colour=0.5), SIZE)
    assert augment is not None
    assert augment(images()[:, :1], generator()).shape == (40, 1, SIZE, SIZE)


def test_a_warp_moves_what_is_there_as_its_six_numbers_say() -> None:
    size, share = 33, 0.2
    at = (torch.arange(float(size)) * 2 + 1) / size - 1  # of the pixels, -1 to 1
    y, x = torch.meshgrid(at, at, indexing="ij")
    # Pixels that say where they are: what comes out says from where each came.
    came = warped(torch.stack([x, y])[None].expand(50, -1, -1, -1), share, generator())
    maps = 2 * torch.rand(50, 2, 3, generator=generator()) - 1
    here = torch.stack([x, y, torch.ones_like(x)])
    expected = here[None, :2] + share * torch.einsum("bij,jhw->bihw", maps, here)
    expected = expected.clamp(float(at[0]), float(at[-1]))  # beyond the edge: as at the edge
    torch.testing.assert_close(came, expected, atol=1e-5, rtol=0)


def test_the_same_draws_again_and_torch_s_own_left_alone() -> None:
    everything = Augment(flip=True, crop=2, colour=0.3, warp=0.1)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = augmented(everything)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(2)
    assert torch.equal(augmented(everything), first)


@pytest.mark.parametrize(("split", "changes"), [("train", True), ("valid", False), ("test", False)])
def test_only_meta_train_is_augmented(split: str, changes: bool) -> None:
    tables = {
        name: torch.randint(256, (8, 3, 3, SIZE, SIZE), dtype=torch.uint8)
        for name in ("train", "valid", "test")
    }
    plain, source = (ImageTasks(tables, torch.device("cpu")) for _ in range(2))
    source.augment = build(Augment(crop=2, colour=0.4), SIZE)
    drawn, expected = (
        one.sample(split, 4, TaskShape(5, 1, 2), generator()) for one in (source, plain)
    )
    assert torch.equal(drawn.support_x, expected.support_x) is not changes
    assert torch.equal(drawn.query_x, expected.query_x) is not changes
    assert torch.equal(drawn.classes, expected.classes)  # type: ignore[arg-type]


def test_a_run_meets_the_same_tasks_with_and_without() -> None:
    table = torch.zeros(30, 3, 3, SIZE, SIZE, dtype=torch.uint8)
    classes = []
    for config in (Augment(), Augment(flip=True)):
        source, draws = ImageTasks({"train": table}, torch.device("cpu")), generator()
        source.augment = build(config, SIZE)
        drawn = [source.sample("train", 4, TaskShape(5, 1, 2), draws).classes for _ in range(3)]
        classes.append(torch.stack([each for each in drawn if each is not None]))
    assert torch.equal(*classes)
    assert not torch.equal(classes[0][0], classes[0][1])


def test_each_draw_of_the_same_image_changes_it_anew() -> None:
    augment, draws = build(Augment(colour=0.3), SIZE), generator()
    assert augment is not None
    table = torch.full((5, 3, 3, SIZE, SIZE), 128, dtype=torch.uint8)
    source = ImageTasks({"train": table}, torch.device("cpu"))
    source.augment = augment
    first, second = (source.sample("train", 2, TaskShape(5, 1, 2), draws) for _ in range(2))
    assert not torch.equal(first.support_x, second.support_x)
