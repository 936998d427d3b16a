"""A step of torch's Adam or SGD as a function of tensors, which can be compiled with its gradient.

What a step moves lies in one list: the weights, and for Adam then both moments of each weight and
how many steps each has made, as `torch.optim.Adam` keeps them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

State = list[Tensor]
OF_ADAM = "exp_avg", "exp_avg_sq", "step"


def state_of(optimizer: torch.optim.Optimizer, weights: list[Tensor]) -> State:
    """All that a step of this optimiser moves, which it is to be moved in; zeros at first."""
    moved = [weight.detach() for weight in weights]
    if isinstance(optimizer, torch.optim.Adam):
        kept: list[dict[str, Any]] = [optimizer.state[weight] for weight in weights]
        for weight, of_weight in zip(weights, kept, strict=True):
            if not of_weight:
                zeros = [torch.zeros_like(weight, requires_grad=False) for _ in range(2)]
                steps = torch.zeros((), dtype=torch.float32, device=weight.device)
                of_weight.update(zip(OF_ADAM, (*zeros, steps), strict=True))
        moved += [of_weight[name] for name in OF_ADAM for of_weight in kept]
    return moved


def stepped(
    optimizer: torch.optim.Optimizer, state: State, gradient: list[Tensor], rates: list[Tensor]
) -> State:
    """What `state` is after a step.

    Args:
        rates: the meta learning rate of each weight, in float64.
    """
    if not isinstance(optimizer, torch.optim.Adam):
        return [
            weight - rate.to(weight) * part
            for weight, part, rate in zip(state, gradient, rates, strict=True)
        ]
    # Kingma & Ba 2015, algorithm 1, with the bias corrections in float64, as torch's own has them.
    (beta1, beta2), eps = optimizer.defaults["betas"], optimizer.defaults["eps"]
    count = len(gradient)
    weights, means, squares, steps = (state[at : at + count] for at in range(0, 4 * count, count))
    steps = [step + 1 for step in steps]
    if beta1:
        means = [
            mean + (1 - beta1) * (part - mean) for mean, part in zip(means, gradient, strict=True)
        ]
    else:  # which that sum would round
        means = gradient
    squares = [
        beta2 * square + (1 - beta2) * part * part
        for square, part in zip(squares, gradient, strict=True)
    ]
    for place, (mean, square, step, rate) in enumerate(
        zip(means, squares, steps, rates, strict=True)
    ):
        size = rate / (1 - beta1 ** step.double())
        scale = (1 - beta2 ** step.double()).sqrt()
        part = size.to(mean) * mean / (square.sqrt() / scale.to(mean) + eps)
        weights[place] = weights[place] - part
    return [*weights, *means, *squares, *steps]
