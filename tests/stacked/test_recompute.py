from __future__ import annotations

import copy

import pytest
import torch
from helpers import IMAGE_MODELS, config, image_tasks, narrow
from torch import Tensor

from fewshot_cli import models
from fewshot_cli.algorithms import maml
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.stacked.recompute import recomputed


def test_a_recomputed_step_has_the_same_gradient_and_keeps_no_graph() -> None:
    calls = 0

    def step(weights: list[Tensor]) -> list[Tensor]:
        nonlocal calls
        calls += 1
        return [weight - 0.1 * weight**3 for weight in weights]

    weights = [torch.tensor(value, requires_grad=True) for value in (1.0, 2.0)]
    plain = torch.autograd.grad(sum(step(step(step(weights)))), weights)
    calls = 0
    after = recomputed(step, 3, weights)
    assert calls == 3
    again = torch.autograd.grad(sum(after), weights)
    # To the middle, 1; to the middle of the two steps after it, 1; and each of the three.
    assert calls == 3 + 1 + 1 + 3
    assert plain == again


@pytest.mark.parametrize("model", IMAGE_MODELS)
@pytest.mark.parametrize("chunk", [1, 100])
@pytest.mark.parametrize("steps", [1, 3])
def test_maml_s_meta_gradient_is_the_same(model: str, chunk: int, steps: int) -> None:
    settings = config(
        *("algo=maml", f"algo.inner_steps={steps}", "algo.inner_lr=0.1"),
        *("algo.meta_optimizer=sgd", "algo.meta_lr=1", "algo.meta_schedule=constant"),
    ).algo
    torch.manual_seed(0)
    net = models.build(narrow(model), (1, 16, 16), 3).double()
    trained = []
    for recompute in (False, True):
        own = copy.deepcopy(net)
        learner = maml.MAML(own, settings, 1, Acceleration(chunk, recompute=recompute))
        learner.meta_update(image_tasks(dtype=torch.float64), torch.Generator())
        trained.append(list(own.parameters()))
    for mine, other in zip(*trained, strict=True):
        assert torch.allclose(mine, other, rtol=1e-12, atol=1e-14)
