"""A network as a body, which gives features, and a linear head, which reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import nn

from fewshot_cli.algorithms import Learner
from fewshot_cli.algorithms import learn2learn as l2l
from fewshot_cli.algorithms.maml import inner_loop
from fewshot_cli.algorithms.stacking import PerTask
from fewshot_cli.config import UserError
from fewshot_cli.data.batch import TaskBatch


def body_and_head(net: nn.Module) -> tuple[nn.Sequential, nn.Linear]:
    """The two parts, which share their weights with `net`.

    Raises:
        UserError: the network is no sequence of layers that ends in a linear one.
    """
    if not isinstance(net, nn.Sequential) or not isinstance(net[-1], nn.Linear):
        raise UserError("model: expected an nn.Sequential that ends in an nn.Linear, its head")
    return net[:-1], net[-1]


def same_for_all(body: PerTask, tasks: int) -> PerTask:
    """A copy of the body in front of T tasks, each of which is a batch of its own to it."""
    copy: PerTask = l2l.clone_module(body)
    copy.stack(tasks)
    return copy


def adapted_heads(
    body: PerTask, head: l2l.Wrapper, tasks: TaskBatch, steps: int
) -> Iterator[Learner]:
    """The body as it is, and a fresh clone of the head before and after each step of it."""
    seen = replace(tasks, support_x=body(tasks.support_x))
    learner = nn.Sequential(body, head)  # its parameters stand in theta's order
    for _ in inner_loop(head, seen, steps):
        yield learner
