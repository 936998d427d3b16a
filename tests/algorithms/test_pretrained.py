"""Algorithms on a pretrained, depthwise-separable network whose batch norm is frozen."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from helpers import config, image_tasks, of_all
from torch import Tensor, nn
from torch.nn import functional

from fewshot_cli import algorithms, models
from fewshot_cli.algorithms.base import MetaLearner
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.models import Network
from fewshot_cli.stacked import learn2learn as l2l
from fewshot_cli.stacked.acceleration import EVERY_TASK, Acceleration

TINY = ["model=timm", "model.backbone=test_efficientnet", "model.weights=none"]
LITE0 = ["model=lite0"]
LR, STEPS = 0.05, 2
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def net_for(model: list[str], freeze: str) -> Network:
    torch.manual_seed(0)
    chosen = config(*model, f"model.freeze={freeze}", "model.feature_norm=2").model
    net = models.build(chosen, (3, 32, 32), 3).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and model is TINY:  # as if it had been trained
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    return net


def tasks() -> TaskBatch:
    """Two tasks of 32-pixel images in colour, in float64."""
    small = image_tasks(tasks=2, dtype=torch.float64, channels=3)
    x, query_x = (
        functional.interpolate(each.flatten(0, 1), 32).unflatten(0, each.shape[:2])
        for each in (small.support_x, small.query_x)
    )
    return TaskBatch(x, small.support_y, query_x, small.query_y, small.classes)


def loss_of(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(net(x), y)


def learn2learn_gradient(net: Network, algo: str) -> list[Tensor]:
    """Of learn2learn's own loop over the tasks, by torch's own layers."""
    net = copy.deepcopy(net)
    total = torch.zeros((), dtype=torch.float64)
    for x, y, query_x, query_y in zip(*tasks().fields(), strict=True):
        body, head = net.body, net.head
        if algo == "anil":
            phi = l2l.wrap(head, LR, first_order=False).clone()
            for _ in range(STEPS):
                phi.adapt(loss_of(phi, body(x), y))
            total = total + loss_of(phi, body(query_x), query_y)
        elif algo == "boil":
            phi = l2l.wrap(body, LR, first_order=False).clone()
            for _ in range(STEPS):
                phi.adapt(functional.cross_entropy(head(phi(x)), y))
            total = total + functional.cross_entropy(head(phi(query_x)), query_y)
        elif algo == "protonet":
            features = body(x)
            means = torch.stack([features[y == label].mean(0) for label in range(3)])
            logits = -torch.cdist(body(query_x), means).square()
            total = total + functional.cross_entropy(logits, query_y)
        else:
            phi = l2l.wrap(net, LR, first_order=algo == "fomaml").clone()
            for _ in range(STEPS):
                phi.adapt(loss_of(phi, x, y))
            total = total + loss_of(phi, query_x, query_y)
    learning = net.learning[:-2] if algo == "protonet" else net.learning
    return list(torch.autograd.grad(total / len(tasks()), learning))


def reptile_gradient(net: Network) -> list[Tensor]:
    """theta minus the mean of the weights that torch's own SGD reaches."""
    ends = []
    for x, y in zip(tasks().support_x, tasks().support_y, strict=True):
        phi = copy.deepcopy(net)
        optimizer = torch.optim.SGD(phi.learning, lr=LR)
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss_of(phi, x, y).backward()
            optimizer.step()
        ends.append(phi.learning)
    return [
        (theta - torch.stack([*of_tasks]).mean(0)).detach()
        for theta, *of_tasks in zip(net.learning, *ends, strict=True)
    ]


def gradient(net: Network, algo: str, chunk: int) -> list[Tensor]:
    """theta before less theta after a step of SGD with rate 1."""
    own = copy.deepcopy(net)
    chosen = config(f"algo={algo}").algo
    chosen.inner_lr, chosen.inner_steps, chosen.meta_lr = LR, STEPS, 1.0
    chosen.inner_optimizer = chosen.meta_optimizer = config(
        "algo.meta_optimizer=sgd"
    ).algo.meta_optimizer
    chosen.inner_batch, chosen.carry_state = None, False
    learner = algorithms.build(own, chosen, 10**9, Acceleration(chunk))
    assert isinstance(learner, MetaLearner)
    before = [weight.detach().clone() for weight in learner.weights]
    learner.meta_update(tasks(), torch.Generator())
    return [then - now.detach() for then, now in zip(before, learner.weights, strict=True)]


ALGOS = ["maml", "fomaml", "anil", "boil", "protonet", "reptile"]


@pytest.mark.parametrize(*of_all(algo=ALGOS, freeze=["none", "norm"], chunk=[1, EVERY_TASK]))
def test_meta_gradients_are_learn2learn_s(algo: str, freeze: str, chunk: int) -> None:
    agrees(net_for(TINY, freeze), algo, chunk)


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["maml", "fomaml"])
def test_so_they_are_with_the_embedded_weights(algo: str) -> None:
    agrees(net_for(LITE0, "none"), algo, chunk=1)


def agrees(net: Network, algo: str, chunk: int) -> None:
    ours = gradient(net, algo, chunk)
    theirs = reptile_gradient(net) if algo == "reptile" else learn2learn_gradient(net, algo)
    assert len(ours) == len(theirs)
    largest = max(float(each.abs().max()) for each in theirs)
    assert largest > 1e-6
    for mine, other in zip(ours, theirs, strict=True):
        # theta moves by so little that the step itself rounds at 1e-16 of theta
        assert float((mine - other).abs().max()) < 1e-8 * largest + 1e-14


@pytest.mark.parametrize("algo", ["maml", "anil", "reptile", "finetune", "scratch", "imaml"])
def test_frozen_weights_stay(algo: str) -> None:
    net = net_for(TINY, "norm")
    frozen = [weight for weight in net.parameters() if not weight.requires_grad]
    before = [weight.clone() for weight in frozen]
    learner = algorithms.build(net, config(f"algo={algo}").algo, 10, Acceleration(1))
    if isinstance(learner, MetaLearner):
        learner.meta_update(tasks(), torch.Generator())
    for _ in learner.adapt(tasks(), 1, torch.Generator()):
        pass
    assert all(map(torch.equal, frozen, before))


def test_learned_rates_want_all_weights() -> None:
    with pytest.raises(models.UserError, match=r"algo=metasgd: gives a rate to every weight"):
        algorithms.build(net_for(TINY, "norm"), config("algo=metasgd").algo, 10, Acceleration(1))
