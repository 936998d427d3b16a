from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewshot_cli.data.episodes import ImageTasks, with_rotations

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
    batch = source().sample("train", tasks, ways, shots, queries, generator)
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
    batch = source().sample("train", 6000, 3, 1, 1, torch.Generator().manual_seed(0))
    drawn = (torch.cat([batch.support_x, batch.query_x]) * 255).round().long().flatten()
    counts = drawn.bincount(minlength=CLASSES * SAMPLES).double()
    expected = counts.sum() / len(counts)
    # Binomial counts: five standard deviations.
    assert (counts - expected).abs().max() < 5 * expected.sqrt()


def test_the_generator_alone_decides() -> None:
    one, two = (
        source().sample("test", 4, 3, 2, 2, torch.Generator().manual_seed(5)) for _ in range(2)
    )
    other = source().sample("test", 4, 3, 2, 2, torch.Generator().manual_seed(6))
    assert torch.equal(one.support_x, two.support_x)
    assert torch.equal(one.query_x, two.query_x)
    assert not torch.equal(one.support_x, other.support_x)


def test_rotations_are_classes_of_their_own_each_at_one_angle() -> None:
    images = torch.rand(3, 2, 1, 4, 4).mul(255).to(torch.uint8)
    rotated = with_rotations(images)
    assert rotated.shape == (12, 2, 1, 4, 4)
    for turns in range(4):
        for of_class in range(3):
            for sample in range(2):
                expected = images[of_class, sample, 0].rot90(turns)
                assert torch.equal(rotated[3 * turns + of_class, sample, 0], expected)
