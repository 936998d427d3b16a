from __future__ import annotations

import pytest
import torch
from helpers import IMAGE_MODELS, config, narrow
from torch import nn

from fewshot_cli import models
from fewshot_cli.stacked import learn2learn as l2l
from fewshot_cli.stacked.stacking import MANY_IMAGES, PerTask, chunk_size

UNCOVERED = "a net with layers of its own"


def build(model: str) -> nn.Module:
    if model == UNCOVERED:
        features = nn.Conv2d(1, 4, 3, groups=1, padding="same"), nn.ReLU(), nn.Flatten()
        return nn.Sequential(*features, nn.LayerNorm(4 * 256), nn.Linear(4 * 256, 3))
    return models.build(narrow(model), (1, 16, 16), 3)


@pytest.mark.parametrize("images", [6, MANY_IMAGES + 1])
@pytest.mark.parametrize("model", [*IMAGE_MODELS, UNCOVERED])
def test_each_task_runs_through_its_own_weights(model: str, images: int) -> None:
    net = build(model).double()
    stacked = l2l.clone_module(PerTask(net))
    stacked.stack(4)
    scale = torch.arange(1.0, 5.0, dtype=torch.float64)
    for module in stacked.net.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = weight * scale.view(-1, *[1] * (weight.dim() - 1))
    x = torch.rand(4, images, 1, 16, 16, dtype=torch.float64)
    outputs = stacked(x)
    for task in range(4):
        with torch.no_grad():
            for weight in net.parameters():
                weight *= scale[task]
            assert torch.allclose(outputs[task], net(x[task]), rtol=1e-9)
            for weight in net.parameters():
                weight /= scale[task]


def test_the_rule_for_how_many_tasks_adapt_at_once() -> None:
    def chunk(model: str, *batches: int, device: str = "cpu", size: int = 28) -> int:
        net = models.build(config(f"model={model}").model, (1, size, size), 5)
        return chunk_size(net, (1, size, size), list(batches), torch.device(device))

    assert chunk("mlp", 5, 75) > chunk("fc", 5, 75) > 1
    # Many images pass the convolutions task by task, so they do not count.
    assert chunk("cnn4", 5, 75) == chunk("cnn4", 5) > chunk("cnn4", MANY_IMAGES) > 1
    assert chunk("cnn4", MANY_IMAGES + 1, 75) == 1
    # One task of large pictures is more than the caches hold.
    assert chunk("cnn4_pool", 20, size=84) == 1


def test_two_layers_may_share_a_weight() -> None:
    layer = nn.Linear(4, 4)
    stacked = l2l.clone_module(PerTask(nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(4, 2))))
    x = torch.rand(3, 5, 4)
    expected = torch.stack([stacked.net(task) for task in x])
    stacked.stack(3)
    assert torch.allclose(stacked(x), expected, atol=1e-6)
    assert len(list(stacked.parameters())) == 4
