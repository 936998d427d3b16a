"""What was learned for N classes, for another number of classes."""

from __future__ import annotations

from torch import Tensor


def for_ways(learned: Tensor, like: Tensor) -> Tensor:
    """`learned [N, ...]` with as many rows as `like`, each the mean of what the N rows learned.

    Which class of a task has which row is drawn by lot, so what the rows have in common is all that
    they can mean. Ye & Chao 2022 train MAML with one such row (UNICORN-MAML) and lose nothing.
    What has the right shape comes back as it is.
    """
    if learned.shape == like.shape:
        return learned
    return learned.mean(0, keepdim=True).expand_as(like)
