"""A step as a function against torch's own optimisers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fewshot_cli.stacked import optimizer_step


def weights() -> list[nn.Parameter]:
    drawn = torch.Generator().manual_seed(0)
    return [
        nn.Parameter(torch.randn(shape, generator=drawn, dtype=torch.float64))
        for shape in ((3, 2), (3,))
    ]


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_steps_are_torch_s_and_its_optimiser_goes_on_from_them(kind: Any) -> None:
    theirs, ours = weights(), weights()
    groups = [{"params": [weight]} for weight in theirs], [{"params": [each]} for each in ours]
    rates = 0.1, 0.02
    optimizer, of_ours = (kind(each, lr=0.1, fused=True) for each in groups)
    for each in (optimizer, of_ours):
        each.param_groups[1]["lr"] = rates[1]
    drawn = torch.Generator().manual_seed(1)
    for update in range(5):
        gradient = [torch.randn(w.shape, generator=drawn, dtype=torch.float64) for w in theirs]
        for mine, other, part in zip(ours, theirs, gradient, strict=True):
            mine.grad, other.grad = part, part.clone()
        optimizer.step()
        if update == 3:  # torch's own finds its state as it would have left it
            of_ours.step()
        else:
            state = optimizer_step.state_of(of_ours, ours)
            with_rates = [torch.tensor(rate, dtype=torch.float64) for rate in rates]
            after = optimizer_step.stepped(of_ours, state, gradient, with_rates)
            for old, new in zip(state, after, strict=True):
                old.copy_(new)
        for mine, other in zip(ours, theirs, strict=True):
            assert torch.allclose(mine, other, rtol=1e-12, atol=1e-14)
    saved, own = of_ours.state_dict()["state"], optimizer.state_dict()["state"]
    assert saved.keys() == own.keys()
    for place, of_weight in own.items():
        assert saved[place].keys() == of_weight.keys()
        for name, value in of_weight.items():
            assert saved[place][name].dtype == value.dtype
            assert torch.allclose(saved[place][name], value, rtol=1e-12, atol=1e-14)
