"""Tasks from arrays: which rows they take, how often, and in what order."""

from __future__ import annotations

import pytest
import torch

from fewshot_cli.data.arrays import ArrayTasks, distinct
from fewshot_cli.data.task import TaskShape

CPU = torch.device("cpu")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_numbers_are_distinct_and_every_order_of_them_is_as_likely() -> None:
    found = distinct(torch.full((60_000,), 4), 3, seeded())
    assert sorted({*found.flatten().tolist()}) == [0, 1, 2, 3]
    orders, times = found.unique(dim=0, return_counts=True)
    assert len(orders) == 4 * 3 * 2
    assert all(len({*order}) == 3 for order in orders.tolist())
    expected = 60_000 / 24
    assert float(((times - expected) ** 2 / expected).sum()) < 49.7  # chi-squared, 23 df, 0.1 %


def test_all_of_a_few_and_some_of_a_hundred_million() -> None:
    assert sorted(distinct(torch.tensor([5]), 5, seeded())[0].tolist()) == [0, 1, 2, 3, 4]
    many = distinct(torch.tensor([10**8]), 1000, seeded())[0]
    assert len({*many.tolist()}) == 1000
    assert int(many.max()) > 9 * 10**7
    assert len({*(many % 2).tolist()}) == 2  # floats would leave even numbers alone


@pytest.fixture
def classes() -> ArrayTasks:
    """Row i is [i]; class n of a split has the rows that `of` says."""
    sizes = {"train": {"a": 4, "b": 6, "c": 5}, "valid": {"a": 4, "b": 6, "c": 5}, "test": {"d": 5}}
    places = torch.randperm(20, generator=seeded(1))
    rows = {"train": places[:15], "valid": places[:15], "test": places[15:]}
    return ArrayTasks(torch.arange(20.0)[:, None], rows, sizes, CPU)


def test_a_task_of_classes_takes_rows_of_its_classes_and_none_twice(classes: ArrayTasks) -> None:
    tasks = classes.sample("train", 200, TaskShape(2, 3, 1), seeded())
    assert (tasks.support_x.shape, tasks.query_x.shape) == ((200, 6, 1), (200, 2, 1))
    assert tasks.support_y[0].tolist() == [0, 0, 0, 1, 1, 1]
    assert tasks.query_y[0].tolist() == [0, 1]
    of = dict.fromkeys(classes.rows["train"][:4].tolist(), 0)
    of |= dict.fromkeys(classes.rows["train"][4:10].tolist(), 1)
    of |= dict.fromkeys(classes.rows["train"][10:].tolist(), 2)
    assert tasks.classes is not None
    for task in range(200):
        support, query = tasks.support_x[task, :, 0].tolist(), tasks.query_x[task, :, 0].tolist()
        assert len({*support, *query}) == 8
        named = tasks.classes[task].tolist()
        assert len({*named}) == 2
        assert [of[row] for row in support] == [named[0]] * 3 + [named[1]] * 3
        assert [of[row] for row in query] == named


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_group_is_a_task_and_comes_again_only_when_all_have_come(outputs: int) -> None:
    x = torch.arange(30.0)[:, None]
    y = x[:, 0] * 2 if outputs == 1 else torch.cat([x * 2, x * 3], 1)
    rows, sizes = torch.arange(30), {str(group): 6 for group in range(5)}
    of = ("train", "valid", "test")
    source = ArrayTasks(
        x, dict.fromkeys(of, rows), dict.fromkeys(of, sizes), CPU, y, outputs, torch.ones(outputs)
    )
    tasks = source.sample("test", 12, TaskShape(1, 2, 3), seeded())
    assert tasks.classes is None
    assert tasks.support_y.shape == ((12, 2) if outputs == 1 else (12, 2, 2))
    first = tasks.query_y if outputs == 1 else tasks.query_y[..., 0]
    assert torch.equal(first, tasks.query_x[..., 0] * 2)
    both = torch.cat([tasks.support_x, tasks.query_x], 1)[..., 0].long()
    assert all(len({*rows.tolist()}) == 5 for rows in both)
    groups = (both // 6).tolist()
    assert all(len({*group}) == 1 for group in groups)
    order = [group[0] for group in groups]
    assert sorted(order[:5]) == sorted(order[5:10]) == [0, 1, 2, 3, 4]
    assert order[:5] != order[5:10]


def test_labels_that_all_groups_share_stay_what_they_are() -> None:
    y = torch.tensor([0, 1, 2, 1, 1, 0])
    rows, sizes = torch.arange(6), {"p": 3, "q": 3}
    of = ("train", "valid", "test")
    source = ArrayTasks(
        torch.arange(6.0)[:, None], dict.fromkeys(of, rows), dict.fromkeys(of, sizes), CPU, y, 3
    )
    tasks = source.sample("train", 2, TaskShape(1, 1, 2), seeded())
    assert source.train_classes == 3
    assert tasks.shared
    assert torch.equal(tasks.query_y, y[tasks.query_x[..., 0].long()])


def test_the_same_generator_gives_the_same_tasks(classes: ArrayTasks) -> None:
    one, same, other = (
        classes.sample("train", 9, TaskShape(2, 1, 1), seeded(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(one.query_x, same.query_x)
    assert not torch.equal(one.query_x, other.query_x)
