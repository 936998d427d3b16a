from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from fewshot_cli.stacked import optimizers

Optimizer = Callable[[list[Tensor]], torch.optim.Optimizer]
SIDES: dict[str, list[Optimizer]] = {
    "Adam": [
        lambda weights: torch.optim.Adam(weights, lr=0.1, fused=True),
        lambda weights: optimizers.Adam(weights, lr=0.1, fused=True),
    ],
    "SGD": [
        lambda weights: torch.optim.SGD(weights, lr=0.1, fused=True),
        lambda weights: optimizers.SGD(weights, lr=0.1, fused=True),
    ],
}


def weight() -> Tensor:
    return torch.linspace(-1, 1, 5).requires_grad_()


def moved(made: Optimizer, state: dict[str, object] | None = None) -> tuple[Tensor, object]:
    """A weight after two steps, and the optimiser's state."""
    moving = weight()
    optimizer = made([moving])
    if state is not None:
        optimizer.load_state_dict(copy.deepcopy(state))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 4)
    for _ in range(2):
        optimizer.zero_grad()
        moving.square().sum().backward()
        optimizer.step()
        schedule.step()
    assert moving.requires_grad
    return moving.detach(), optimizer.state_dict()


@pytest.mark.parametrize("sides", SIDES.values(), ids=SIDES)
def test_the_same_bits_as_torch(sides: list[Optimizer]) -> None:
    (theirs, their_state), (ours, our_state) = (moved(side) for side in sides)
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, weight())
    assert str(our_state) == str(their_state)


@pytest.mark.parametrize("sides", SIDES.values(), ids=SIDES)
def test_each_goes_on_from_the_others_state(sides: list[Optimizer]) -> None:
    theirs, ours = sides
    _, state = moved(theirs)
    assert isinstance(state, dict)
    assert torch.equal(moved(ours, state)[0], moved(theirs, state)[0])


def test_hooks_hear_of_steps() -> None:
    heard = []
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: heard.append(optimizer))
    try:
        moved(SIDES["Adam"][1])
    finally:
        hook.remove()
    assert [type(each) for each in heard] == [optimizers.Adam] * 2
