"""Fine-tuning against plain copies, task by task."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from helpers import config, image_tasks
from torch import nn
from torch.nn import functional

from fewshot_cli import models
from fewshot_cli.algorithms import finetune
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.stacked.acceleration import Acceleration

CLASSES, STEPS, RATE = 11, 3, 0.1


def pretrained(model: str) -> nn.Sequential:
    torch.manual_seed(0)
    net = models.build(config(f"model={model}").model, (1, 16, 16), CLASSES).double()
    assert isinstance(net, nn.Sequential)
    return net


def tasks() -> TaskBatch:
    chosen = torch.tensor([[4, 7, 1], [10, 0, 4], [2, 3, 9]])
    return replace(image_tasks(dtype=torch.float64), classes=chosen)


@pytest.mark.parametrize("model", ["cnn4", "mlp"])
def test_pretraining_is_a_step_on_all_images_with_their_own_classes(model: str) -> None:
    settings = config(
        *("algo=finetune", "algo.meta_optimizer=sgd", "algo.meta_lr=1"),
        "algo.meta_schedule=constant",
    ).algo
    net, batch = pretrained(model), tasks()
    reference = copy.deepcopy(net)
    images, classes = [], []
    for task in range(len(batch)):
        assert batch.classes is not None
        for x, y in ((batch.support_x, batch.support_y), (batch.query_x, batch.query_y)):
            images += list(x[task])
            classes += [int(batch.classes[task, label]) for label in y[task]]
    outputs = reference(torch.stack(images))
    functional.cross_entropy(outputs, torch.tensor(classes)).backward()
    finetune.Finetune(net, settings, 10, Acceleration()).meta_update(batch, torch.Generator())
    for mine, theta in zip(net.parameters(), reference.parameters(), strict=True):
        assert theta.grad is not None
        assert torch.allclose(mine, theta - theta.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("model", ["cnn4", "mlp"])
@pytest.mark.parametrize("layers", ["all", "head"])
def test_a_task_fine_tunes_a_fresh_head(model: str, layers: str) -> None:
    settings = config("algo=finetune", f"algo.layers={layers}", f"algo.inner_lr={RATE}").algo
    net, batch = pretrained(model), tasks()
    *_, learner = finetune.Finetune(net, settings, 10, Acceleration()).adapt(
        batch, STEPS, torch.Generator()
    )
    outputs = learner(batch.query_x)
    assert outputs.shape == (3, 6, 3)
    for task in range(len(batch)):
        body = copy.deepcopy(net[:-1])
        head = nn.Linear(net[-1].in_features, 3).double()
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        moving = head if layers == "head" else nn.Sequential(*body, head)
        descent = torch.optim.SGD(moving.parameters(), lr=RATE)
        for _ in range(STEPS):
            descent.zero_grad()
            loss = functional.cross_entropy(
                head(body(batch.support_x[task])), batch.support_y[task]
            )
            loss.backward()
            descent.step()
        assert torch.allclose(outputs[task], head(body(batch.query_x[task])), rtol=1e-9)


def test_regression_keeps_its_head() -> None:
    settings = config("data=sinusoid", "model=mlp", "algo=finetune").algo
    net = models.build(config("model=mlp").model, (1,), 1)
    x, y = torch.rand(2, 5, 1), torch.rand(2, 5)
    batch = TaskBatch(x, y, x, y)
    first = next(
        finetune.Finetune(net, settings, 10, Acceleration()).adapt(batch, 1, torch.Generator())
    )
    assert torch.allclose(first(x), torch.stack([net(task) for task in x]), atol=1e-6)
