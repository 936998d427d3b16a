"""Losses and accuracies, one figure a task, so that tasks never mix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Scores:
    """`loss [T]`, and `accuracy [T]` in 0..1 (None for regression), of T tasks."""

    loss: Tensor
    accuracy: Tensor | None

    @staticmethod
    def concatenate(parts: list[Scores]) -> Scores:
        accuracies = [part.accuracy for part in parts if part.accuracy is not None]
        return Scores(
            torch.cat([part.loss for part in parts]),
            torch.cat(accuracies) if accuracies else None,
        )


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """Each task's mean loss, `[T]`: cross-entropy for integer targets, else squared error.

    Args:
        outputs: `[T, B, N]` logits, or `[T, B, 1]` values.
        targets: `[T, B]`.
    """
    if targets.is_floating_point():
        return (outputs[..., 0] - targets).square().mean(1)
    each = functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
    return each.view(targets.shape).mean(1)


def score(outputs: Tensor, targets: Tensor) -> Scores:
    """Losses and accuracies without their graph; the shapes of `losses`."""
    with torch.no_grad():
        loss = losses(outputs, targets)
        if targets.is_floating_point():
            return Scores(loss, None)
        return Scores(loss, (outputs.argmax(-1) == targets).float().mean(1))
