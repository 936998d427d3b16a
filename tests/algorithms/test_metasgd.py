"""Meta-SGD against learn2learn's own loop over its own wrapper."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import config, image_tasks
from torch.nn import functional

from fewshot_cli import models
from fewshot_cli.algorithms import metasgd
from fewshot_cli.stacked import learn2learn as l2l
from fewshot_cli.stacked.acceleration import Acceleration


@pytest.mark.parametrize("chunk", [1, 2, 100])
@pytest.mark.parametrize("steps", [1, 3])
def test_weights_and_rates_move_along_learn2learn_s_gradients(chunk: int, steps: int) -> None:
    torch.manual_seed(0)
    net = models.build(config("model=fc").model, (1, 16, 16), 3).double()
    tasks = image_tasks(dtype=torch.float64)
    wrapper = l2l.MetaSGD(copy.deepcopy(net), lr=0.1)
    for task in range(len(tasks)):
        learner = wrapper.clone()
        for _ in range(steps):
            outputs = learner(tasks.support_x[task])
            learner.adapt(functional.cross_entropy(outputs, tasks.support_y[task]))
        loss = functional.cross_entropy(learner(tasks.query_x[task]), tasks.query_y[task])
        (loss / len(tasks)).backward()

    settings = config(
        *("algo=metasgd", "algo.inner_lr=0.1", f"algo.inner_steps={steps}"),
        *("algo.meta_optimizer=sgd", "algo.meta_lr=1", "algo.meta_schedule=constant"),
    ).algo
    learner = metasgd.MetaSGD(net, settings, 10, Acceleration(chunk))
    before = [weight.detach().clone() for weight in learner.weights]
    learner.meta_update(tasks, torch.Generator())
    theirs = [*wrapper.module.parameters(), *wrapper.lrs]
    largest = max(float(weight.grad.abs().max()) for weight in theirs)
    for old, new, their in zip(before, learner.weights, theirs, strict=True):
        assert float((old - new.detach() - their.grad).abs().max()) < 1e-9 * largest
    assert all(float(alpha.grad.abs().max()) > 0 for alpha in wrapper.lrs)
