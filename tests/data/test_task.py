from __future__ import annotations

import pytest
import torch
from helpers import image_tasks
from torch.nn import functional

from fewshot_cli.data.task import Scores, losses, score


def test_split_keeps_all_tasks_in_order() -> None:
    batch = image_tasks(tasks=5)
    parts = list(batch.split(2))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.query_x for part in parts]), batch.query_x)
    assert torch.equal(torch.cat([part.support_y for part in parts]), batch.support_y)


def test_classification_is_the_mean_cross_entropy_of_each_task() -> None:
    logits, labels = torch.randn(3, 8, 5), torch.randint(5, (3, 8))
    expected = torch.stack([functional.cross_entropy(logits[t], labels[t]) for t in range(3)])
    assert torch.allclose(losses(logits, labels), expected)
    found = score(logits, labels)
    assert found.accuracy is not None
    for task in range(3):
        right = sum(int(logits[task, i].argmax() == labels[task, i]) for i in range(8))
        assert float(found.accuracy[task]) == pytest.approx(right / 8)


def test_regression_is_the_mean_squared_error_and_has_no_accuracy() -> None:
    values, targets = torch.randn(3, 8, 1), torch.randn(3, 8)
    expected = ((values[..., 0] - targets) ** 2).mean(1)
    assert torch.allclose(losses(values, targets), expected)
    assert score(values, targets).accuracy is None


def test_concatenate_joins_tasks() -> None:
    one = Scores(torch.tensor([1.0]), torch.tensor([0.5]))
    two = Scores(torch.tensor([2.0, 3.0]), torch.tensor([0.1, 0.2]))
    joined = Scores.concatenate([one, two])
    assert joined.loss.tolist() == [1, 2, 3]
    assert joined.accuracy is not None
    assert len(joined.accuracy) == 3
