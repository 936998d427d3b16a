"""How the head of a task begins, and rates of the backbone apart from the head's."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import config, image_tasks
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from fewshot_cli import algorithms, models
from fewshot_cli.algorithms.base import MetaLearner
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.models import Network
from fewshot_cli.settings.errors import UserError
from fewshot_cli.stacked.acceleration import EVERY_TASK, Acceleration
from fewshot_cli.training.setup import outputs_of

LR, STEPS = 0.1, 2
MAML_LIKE = ["maml", "fomaml", "anil"]


class Smooth(nn.SiLU):
    by_example = True


def network(outputs: int = 3) -> Network:
    torch.manual_seed(0)
    return models.Network(nn.Flatten(), nn.Linear(256, 6), Smooth(), nn.Linear(6, outputs)).double()


def tasks(ways: int = 3) -> TaskBatch:
    return image_tasks(tasks=2, ways=ways, dtype=torch.float64)


def build(algo: str, net: Network, *overrides: str, chunk: int = EVERY_TASK) -> MetaLearner:
    chosen = config(
        *(f"algo={algo}", "algo.meta_optimizer=sgd", "algo.meta_lr=1", f"algo.inner_lr={LR}"),
        *("algo.meta_schedule=constant", *overrides),
    ).algo
    chosen.inner_steps = STEPS
    learner = algorithms.build(net, chosen, 10, Acceleration(chunk))
    assert isinstance(learner, MetaLearner)
    return learner


def truth(net: Network, algo: str, head: str) -> list[Tensor]:
    """The meta-gradient by functions of tensors alone, each task's head and body apart."""
    names = [name for name, _ in net.named_parameters()]
    theta = [weight.detach().requires_grad_() for weight in net.parameters()]

    def run(weights: list[Tensor], x: Tensor) -> Tensor:
        hidden = functional.silu(functional.linear(x.flatten(1), *weights[:2]))
        return functional.linear(hidden, *weights[2:])

    assert names == ["1.weight", "1.bias", "3.weight", "3.bias"]
    total = torch.zeros((), dtype=torch.float64)
    for x, y, query_x, query_y in zip(*tasks().fields(), strict=True):
        if head == "prototypes":
            features = functional.silu(functional.linear(x.flatten(1), *theta[:2]))
            means = torch.stack([features[y == label].mean(0) for label in range(3)])
            rows = [2 * means, -means.square().sum(1)]
        else:
            rows = [theta[2].expand(3, -1), theta[3].expand(3)]
        # Other tensors than theta, so that an inner gradient feels no part of another.
        phi = [weight.clone() for weight in (*theta[:2], *rows)]
        for _ in range(STEPS):
            moving = phi[2:] if algo == "anil" else phi
            loss = functional.cross_entropy(run(phi, x), y)
            steps = torch.autograd.grad(
                loss, moving, create_graph=algo != "fomaml", retain_graph=True
            )
            moved = [weight - LR * step for weight, step in zip(moving, steps, strict=True)]
            phi = [*phi[: len(phi) - len(moved)], *moved]
        total = total + functional.cross_entropy(run(phi, query_x), query_y) / len(tasks())
    learned = theta[:2] if head == "prototypes" else theta
    return list(torch.autograd.grad(total, learned))


@pytest.mark.parametrize("chunk", [1, EVERY_TASK])
@pytest.mark.parametrize("head", ["prototypes", "shared"])
@pytest.mark.parametrize("algo", MAML_LIKE)
def test_the_meta_gradient_through_the_first_head(algo: str, head: str, chunk: int) -> None:
    net = network(1 if head == "shared" else 3)
    expected = truth(net, algo, head)
    learner = build(algo, net, f"algo.head={head}", chunk=chunk)
    before = [weight.detach().clone() for weight in learner.weights]
    learner.meta_update(tasks(), torch.Generator())
    for then, now, gradient in zip(before, learner.weights, expected, strict=True):
        assert torch.allclose(then - now.detach(), gradient, rtol=1e-8, atol=1e-13)


@pytest.mark.parametrize("algo", [*MAML_LIKE, "finetune"])
@pytest.mark.parametrize("ways", [3, 7])
def test_prototypes_begin_as_the_nearest_mean(algo: str, ways: int) -> None:
    net, batch = network(), tasks(ways)
    learner = build(algo, net, "algo.head=prototypes")
    first = next(iter(learner.adapt(batch, 2, torch.Generator())))
    nearest = algorithms.build(net, config("algo=ncm").algo, 0, Acceleration())
    (expected,) = nearest.adapt(batch, 0, torch.Generator())
    assert torch.allclose(first(batch.query_x), expected(batch.query_x))


@pytest.mark.parametrize("algo", [*MAML_LIKE, "finetune"])
def test_prototypes_adapt(algo: str) -> None:
    learner = build(algo, network(), "algo.head=prototypes")
    outputs = [
        phi(tasks().query_x).detach() for phi in learner.adapt(tasks(), 3, torch.Generator())
    ]
    assert len(outputs) == 4
    assert not torch.allclose(outputs[0], outputs[-1])


def test_a_shared_row_is_one_output_for_any_ways() -> None:
    chosen = config("algo.head=shared", "ways=5")
    assert outputs_of(chosen, 5, 100) == 1
    learner = build("maml", network(1), "algo.head=shared")
    *_, phi = learner.adapt(tasks(7), 1, torch.Generator())
    assert phi(tasks(7).query_x).shape == (2, 14, 7)


@pytest.mark.parametrize("algo", ["maml", "reptile", "finetune", "boil"])
def test_the_backbone_has_a_rate_of_its_own(algo: str) -> None:
    moved = []
    for rate in ("null", "0.1"):
        net = network()
        before = [weight.detach().clone() for weight in net.parameters()]
        learner = build(algo, net, f"algo.backbone_lr={rate}")
        learner.meta_update(tasks(), torch.Generator().manual_seed(0))
        moved.append(
            [now.detach() - then for then, now in zip(before, net.parameters(), strict=True)]
        )
    whole, slow = moved
    assert all(float(each.abs().max()) > 0 for each in whole)
    for place, (one, other) in enumerate(zip(whole, slow, strict=True)):
        assert torch.allclose(other, one if place >= 2 else 0.1 * one, rtol=1e-6, atol=1e-14)


def test_two_rates_resume_where_they_were() -> None:
    first = build("maml", network(), "algo.backbone_lr=0.1", "algo.meta_optimizer=adam")
    first.meta_update(tasks(), torch.Generator())
    second = build(
        "maml", copy.deepcopy(first.net), "algo.backbone_lr=0.1", "algo.meta_optimizer=adam"
    )
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for learner in (first, second):
        learner.meta_update(tasks(), torch.Generator())
    assert all(map(torch.equal, first.net.parameters(), second.net.parameters()))


def test_fine_tuning_by_two_rates_is_gradient_descent() -> None:
    net = network()
    learner = build("finetune", net, "algo.backbone_inner_lr=0.01", "algo.head=prototypes")
    *_, phi = learner.adapt(tasks(), 2, torch.Generator())
    for task, (x, y) in enumerate(zip(tasks().support_x, tasks().support_y, strict=True)):
        own = copy.deepcopy(net)
        features = net.body(x)
        means = torch.stack([features[y == label].mean(0) for label in range(3)]).detach()
        own[-1].weight = nn.Parameter(2 * means)
        own[-1].bias = nn.Parameter(-means.square().sum(1))
        groups = [{"params": own[1].parameters(), "lr": 0.01}, {"params": own[3].parameters()}]
        optimizer = torch.optim.SGD(groups, lr=LR)
        for _ in range(2):
            optimizer.zero_grad()
            functional.cross_entropy(own(x), y).backward()
            optimizer.step()
        weights = {
            name: weight[task]
            for name, weight in zip(dict(net.named_parameters()), phi.weights(), strict=True)
        }
        query = tasks().query_x[task]
        assert torch.allclose(functional_call(net, weights, (query,)), own(query))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data=sinusoid", "model=mlp", "ways=1", "algo.head=prototypes"],
            "is regression; expected own",
        ),
        (["algo=finetune", "algo.head=shared"], "takes own or prototypes"),
        (["model=lite0", "algo=protonet"], "model.freeze=all: algo=protonet learns a body"),
        (["model=lite0", "algo=boil"], "model.freeze=all: algo=boil learns a body"),
        (["model=lite0", "algo.head=prototypes"], "leaves nothing to learn with model.freeze=all"),
    ],
)
def test_what_cannot_be(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(*overrides)
