from __future__ import annotations

import pytest
import torch
from helpers import IMAGE_MODELS, config

from fewshot_cli import models
from fewshot_cli.algorithms import learn2learn as l2l
from fewshot_cli.algorithms.stacking import PerTask, chunk_size


@pytest.mark.parametrize("model", IMAGE_MODELS)
def test_each_task_runs_through_its_own_weights(model: str) -> None:
    net = models.build(config(f"model={model}").model, (1, 16, 16), 3).double()
    stacked = l2l.clone_module(PerTask(net))
    stacked.stack(4)
    scale = torch.arange(1.0, 5.0, dtype=torch.float64)
    for module in stacked.net.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = weight * scale.view(-1, *[1] * (weight.dim() - 1))
    x = torch.rand(4, 6, 1, 16, 16, dtype=torch.float64)
    outputs = stacked(x)
    for task in range(4):
        with torch.no_grad():
            for weight, original in zip(net.parameters(), [*net.parameters()], strict=True):
                weight.copy_(original * scale[task])
            assert torch.allclose(outputs[task], net(x[task]), rtol=1e-9)
            for weight in net.parameters():
                weight /= scale[task]


def test_the_rule_for_how_many_tasks_adapt_at_once() -> None:
    cnn = models.build(config("model=cnn4").model, (1, 28, 28), 5)
    mlp = models.build(config("model=mlp").model, (1, 28, 28), 5)
    assert chunk_size(cnn, images=75, on_cpu=True) == 1
    assert chunk_size(cnn, images=5, on_cpu=True) > 1
    assert chunk_size(cnn, images=75, on_cpu=False) > 1
    assert chunk_size(mlp, images=75, on_cpu=True) > 1
