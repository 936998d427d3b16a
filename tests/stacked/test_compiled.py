"""Small functions and a small MAML, really compiled: some seconds each."""

from __future__ import annotations

import shutil

import pytest
import torch
from helpers import config, image_tasks
from torch import nn

from fewshot_cli import models
from fewshot_cli.algorithms import maml
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.stacked.compiled import Compiled

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler"
    ),
]


def test_each_set_of_shapes_is_compiled_once() -> None:
    weight = nn.Parameter(torch.tensor(2.0))

    def gradient(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad((weight * x).square().sum(), [weight])

    compiled = Compiled(gradient)
    x = torch.tensor([1.0, 3.0])
    assert float(compiled(x)[0]) == 40
    with torch.no_grad():
        weight.fill_(1.0)  # as an optimiser does it
    assert float(compiled(x)[0]) == 20
    assert float(compiled(torch.ones(3))[0]) == 6
    assert len(compiled.compilations) == 2
    assert all(each.seconds > each.call_before > 0 for each in compiled.compilations)


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["maml", "fomaml"])
def test_a_compiled_meta_update_is_the_same(algo: str) -> None:
    settings = config(f"algo={algo}", "algo.inner_steps=2", "algo.inner_lr=0.1").algo
    tasks = image_tasks(dtype=torch.float64)
    trained = []
    for compile_it in (False, True):
        torch.manual_seed(0)
        net = models.build(config("model=mlp").model, (1, 16, 16), 3).double()
        learner = maml.MAML(net, settings, 10, Acceleration(compile=compile_it))
        scores = [learner.meta_update(tasks, torch.Generator()) for _ in range(3)]
        trained.append((scores[-1], list(net.parameters())))
    (eager, expected), (compiled, actual) = trained
    assert torch.allclose(eager.loss, compiled.loss, rtol=1e-9)
    assert eager.accuracy is not None
    assert compiled.accuracy is not None
    assert torch.equal(eager.accuracy, compiled.accuracy)
    for mine, other in zip(actual, expected, strict=True):
        assert torch.allclose(mine, other, rtol=1e-7, atol=1e-9)
