from __future__ import annotations

import hashlib

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewshot_cli.data.images.episodes import ImageTasks, with_rotations
from fewshot_cli.data.task import TaskShape

CLASSES, SAMPLES = 9, 8


def numbered() -> torch.Tensor:
    """Each image is one pixel with a number of its own: class * SAMPLES + sample."""
    return torch.arange(CLASSES * SAMPLES, dtype=torch.uint8).view(CLASSES, SAMPLES, 1, 1, 1)


def source() -> ImageTasks:
    table = numbered()
    return ImageTasks({"train": table, "valid": table, "test": table}, torch.device("cpu"))


@settings(max_examples=60, deadline=None)
@given(
    tasks=st.integers(1, 5),
    ways=st.integers(2, CLASSES),
    shots=st.integers(1, 4),
    queries=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_a_task_has_distinct_classes_and_no_image_twice(
    tasks: int, ways: int, shots: int, queries: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    batch = source().sample("train", tasks, TaskShape(ways, shots, queries), generator)
    assert batch.support_x.shape == (tasks, ways * shots, 1, 1, 1)
    assert batch.query_x.shape == (tasks, ways * queries, 1, 1, 1)
    support = (batch.support_x * 255).round().long().view(tasks, ways, shots)
    query = (batch.query_x * 255).round().long().view(tasks, ways, queries)
    for task in range(tasks):
        images = torch.cat([support[task].flatten(), query[task].flatten()]).tolist()
        assert len(set(images)) == len(images)
        classes = torch.cat([support[task], query[task]], dim=1) // SAMPLES
        assert (classes == classes[:, :1]).all()
        assert len(set(classes[:, 0].tolist())) == ways
    assert (batch.support_y.view(tasks, ways, shots) == torch.arange(ways)[:, None]).all()
    assert (batch.query_y.view(tasks, ways, queries) == torch.arange(ways)[:, None]).all()


def test_every_class_and_image_is_drawn_equally_often() -> None:
    batch = source().sample("train", 6000, TaskShape(3, 1, 1), torch.Generator().manual_seed(0))
    drawn = (torch.cat([batch.support_x, batch.query_x]) * 255).round().long().flatten()
    counts = drawn.bincount(minlength=CLASSES * SAMPLES).double()
    expected = counts.sum() / len(counts)
    # Binomial counts: five standard deviations.
    assert (counts - expected).abs().max() < 5 * expected.sqrt()


def test_the_generator_alone_decides() -> None:
    one, two = (
        source().sample("test", 4, TaskShape(3, 2, 2), torch.Generator().manual_seed(5))
        for _ in range(2)
    )
    other = source().sample("test", 4, TaskShape(3, 2, 2), torch.Generator().manual_seed(6))
    assert torch.equal(one.support_x, two.support_x)
    assert torch.equal(one.query_x, two.query_x)
    assert not torch.equal(one.support_x, other.support_x)


def test_tables_of_equal_classes_give_the_tasks_that_they_always_gave() -> None:
    """The digest was taken when every class had to have the same number of images."""
    generator, digest = torch.Generator().manual_seed(3), hashlib.sha256()
    table = torch.randint(0, 256, (9, 20, 1, 6, 6), dtype=torch.uint8, generator=generator)
    tables = {"train": table, "valid": table[:6], "test": table[:7]}
    tasks = ImageTasks(tables, torch.device("cpu"))
    for split in tables:
        batch = tasks.sample(split, 5, TaskShape(4, 3, 6), generator)
        assert batch.classes is not None
        for part in (*batch.fields(), batch.classes):
            digest.update(part.contiguous().numpy().tobytes())
    assert digest.hexdigest() == "55b1c9160a7475e7bff404a9c386848e110b399b487e7a7df5827e7acb095af6"


UNEQUAL = {"a": 4, "b": 9, "c": 5, "d": 7}


def unequal() -> ImageTasks:
    """Each image is one pixel with a number of its own, class after class."""
    table = torch.arange(sum(UNEQUAL.values()), dtype=torch.uint8).view(-1, 1, 1, 1)
    splits = ("train", "valid", "test")
    return ImageTasks(
        dict.fromkeys(splits, table), torch.device("cpu"), dict.fromkeys(splits, UNEQUAL)
    )


def test_classes_of_unequal_size_give_each_of_their_images_equally_often() -> None:
    tasks = 8000
    batch = unequal().sample("train", tasks, TaskShape(2, 1, 3), torch.Generator().manual_seed(0))
    assert batch.classes is not None
    drawn = torch.cat(
        [batch.support_x.view(tasks, 2, 1), batch.query_x.view(tasks, 2, 3)], dim=2
    ).mul(255)
    drawn = drawn.round().long()
    ordered = drawn.sort(dim=-1).values
    assert (ordered.diff(dim=-1) > 0).all()  # no image twice
    ends = torch.tensor(list(UNEQUAL.values())).cumsum(0)
    assert torch.equal(
        torch.bucketize(drawn, ends, right=True), batch.classes[..., None].expand(-1, -1, 4)
    )
    for name, count in zip(
        "abcd", drawn.flatten().bincount().split([*UNEQUAL.values()]), strict=True
    ):
        expected = tasks * 2 / 4 * 4 / UNEQUAL[name]
        assert len(count) == UNEQUAL[name]
        assert (count - expected).abs().max() < 5 * expected**0.5


def test_rotations_are_classes_of_their_own_each_at_one_angle() -> None:
    images = torch.rand(3, 2, 1, 4, 4).mul(255).to(torch.uint8)
    rotated = with_rotations(images)
    assert rotated.shape == (12, 2, 1, 4, 4)
    for turns in range(4):
        for of_class in range(3):
            for sample in range(2):
                expected = images[of_class, sample, 0].rot90(turns)
                assert torch.equal(rotated[3 * turns + of_class, sample, 0], expected)
