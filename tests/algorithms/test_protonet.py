from __future__ import annotations

import pytest
import torch
from helpers import config, image_tasks

from fewshot_cli import models
from fewshot_cli.algorithms import protonet
from fewshot_cli.settings.errors import UserError
from fewshot_cli.stacked.acceleration import Acceleration


@pytest.mark.parametrize("model", ["cnn4", "mlp"])
@pytest.mark.parametrize("chunk", [1, 100])
def test_the_nearest_class_mean_wins(model: str, chunk: int) -> None:
    torch.manual_seed(0)
    net = models.build(config(f"model={model}").model, (1, 16, 16), 3).double()
    tasks = image_tasks(shots=3, dtype=torch.float64)
    algorithm = protonet.ProtoNet(net, config("algo=protonet").algo, 10, Acceleration(chunk))
    (learner,) = algorithm.adapt(tasks, 0, torch.Generator())
    outputs = learner(tasks.query_x)
    for task in range(len(tasks)):
        support, query = net[:-1](tasks.support_x[task]), net[:-1](tasks.query_x[task])
        for label in range(3):
            mean = support[tasks.support_y[task] == label].mean(0)
            assert torch.allclose(outputs[task, :, label], -(query - mean).square().sum(1))


def test_it_is_for_classes_only() -> None:
    with pytest.raises(UserError, match=r"algo=protonet: data=sinusoid is regression"):
        config("data=sinusoid", "model=mlp", "algo=protonet")
