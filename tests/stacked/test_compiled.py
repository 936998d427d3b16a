"""Small functions and a small MAML, really compiled: some seconds each."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
from helpers import config, image_tasks
from torch import nn

from benchmarks import rivals, speed
from fewshot_cli import models
from fewshot_cli.algorithms import maml, reptile
from fewshot_cli.algorithms.base import DivergedError
from fewshot_cli.data.task import Scores, TaskBatch
from fewshot_cli.stacked import learn2learn as l2l
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.stacked.compiled import Compiled

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler"
    ),
]


def test_each_set_of_shapes_and_types_is_compiled_once() -> None:
    weight = nn.Parameter(torch.tensor(2.0))

    def gradient(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad((weight * x).square().sum(), [weight])

    compiled = Compiled(gradient, "gradient")
    x = torch.tensor([1.0, 3.0])
    assert float(compiled(x)[0]) == 40
    with torch.no_grad():
        weight.fill_(1.0)  # as an optimiser does it
    assert float(compiled(x)[0]) == 20
    assert float(compiled(torch.ones(3))[0]) == 6
    assert float(compiled(torch.ones(2, dtype=torch.float64))[0]) == 4
    assert len(compiled.compilations) == 3
    assert all(each.seconds > each.call_before > 0 for each in compiled.compilations)


def test_some_of_what_is_given_moves() -> None:
    total, steps = torch.zeros(3), torch.tensor(0.0)
    kept = total.clone(), steps.clone()

    def add(total: torch.Tensor, steps: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return total + x, steps + 1, total * 2

    compiled = Compiled(add, "sum", moves=2)
    for _ in range(3):
        (before,) = compiled(total, steps, torch.ones(3))
        assert torch.equal(before, 2 * kept[0])
        kept = kept[0] + 1, kept[1] + 1
        assert torch.equal(total, kept[0])
        assert torch.equal(steps, kept[1])
    assert len(compiled.compilations) == 1


def trained(
    compile_it: bool, *options: str, chunk: int = 100, updates: int = 3
) -> tuple[Scores, maml.MAML]:
    words = "algo.inner_steps=2", "algo.inner_lr=0.1", "algo.meta_schedule=linear", *options
    torch.manual_seed(0)
    net = models.build(config("model=mlp").model, (1, 16, 16), 3).double()
    learner = maml.MAML(net, config(*words).algo, 10, Acceleration(chunk, compile_it))
    tasks = image_tasks(dtype=torch.float64)
    scores = [learner.meta_update(tasks, torch.Generator()) for _ in range(updates)]
    return scores[-1], learner


@pytest.mark.parametrize(
    ("options", "chunk"),
    [
        (["algo=maml", "algo.meta_clip=0.001", "algo.backbone_lr=0.001"], 100),
        (["algo=fomaml", "algo.meta_optimizer=sgd", "algo.meta_lr=0.1"], 100),
        (["algo=maml", "algo.learn_rates=true", "algo.multi_step=3"], 100),
        (["algo=maml", "algo.multi_step=2"], 100),
        (["algo=maml"], 2),
    ],
)
def test_compiled_meta_updates_are_the_same(options: list[str], chunk: int) -> None:
    expected, plain = trained(False, *options, chunk=chunk)
    scores, learner = trained(True, *options, chunk=chunk)
    assert torch.allclose(expected.loss, scores.loss, rtol=1e-9)
    assert expected.accuracy is not None
    assert scores.accuracy is not None
    assert torch.equal(expected.accuracy, scores.accuracy)
    for mine, other in zip(learner.weights, plain.weights, strict=True):
        assert torch.allclose(mine, other, rtol=1e-7, atol=1e-9)
    assert learner.meta_optimizer.iteration == 3
    # Each goes on from the other's state.
    plain.load_state_dict(copy.deepcopy(learner.state_dict()))
    plain.net.load_state_dict(learner.net.state_dict())
    tasks = image_tasks(dtype=torch.float64)
    for each in (learner, plain):
        each.meta_update(tasks, torch.Generator())
    for mine, other in zip(learner.weights, plain.weights, strict=True):
        assert torch.allclose(mine, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("algo", ["maml", "fomaml"])
def test_compiled_meta_updates_are_learn2learn_s_with_torch_s_adam(
    algo: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = f"algo={algo}", f"algo.inner_steps={steps}", "algo.inner_lr=0.05"
    settings = config("data=sinusoid", "model=mlp", "algo.meta_schedule=constant", *words)
    drawn = speed.draw(settings, 4, 1)
    tasks = TaskBatch(*(field.double() for field in drawn.fields()))
    nets = [speed.network(settings, tasks).double() for _ in range(2)]
    learner = maml.MAML(nets[0], settings.algo, 10, Acceleration(compile=True))
    adapt, traced = l2l.MAML.adapt, []
    with monkeypatch.context() as patch:
        patch.setattr(l2l.MAML, "adapt", lambda *given: traced.append(1) or adapt(*given))
        learner.meta_update(tasks, torch.Generator())
    assert len(traced) % steps == 0  # its wrapper is what is traced
    assert traced
    theirs = rivals.maml_loop(
        nets[1], lambda: rivals.tasks_in_memory(tasks), 0.05, steps, algo == "fomaml"
    )
    theirs()
    for _ in range(4):
        learner.meta_update(tasks, torch.Generator())
        theirs()
    for mine, other in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.allclose(mine, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "chunk"), [(["algo.carry_state=true"], 100), (["algo.inner_optimizer=sgd"], 2)]
)
def test_reptile_s_compiled_steps_are_the_same(options: list[str], chunk: int) -> None:
    words = "algo=reptile", "algo.inner_steps=3", "algo.inner_batch=4", "algo.meta_lr=0.7"
    settings, tasks = config(*words, *options).algo, image_tasks(dtype=torch.float64)

    def trained(compile_it: bool) -> tuple[Scores, reptile.Reptile]:
        torch.manual_seed(0)
        net = models.build(config("model=mlp").model, (1, 16, 16), 3).double()
        learner = reptile.Reptile(net, settings, 10, Acceleration(chunk, compile_it))
        draws = torch.Generator().manual_seed(3)
        return [learner.meta_update(tasks, draws) for _ in range(3)][-1], learner

    (expected, plain), (scores, learner), (_, again) = map(trained, (False, True, True))
    assert torch.allclose(expected.loss, scores.loss, rtol=1e-9)
    assert len(learner.compilations()) == (1 if chunk == 100 else 2)
    assert all(map(torch.equal, learner.weights, again.weights))
    for mine, other in zip(learner.weights, plain.weights, strict=True):
        assert torch.allclose(mine, other, rtol=1e-7, atol=1e-9)
    # Each goes on from the other's state.
    states = copy.deepcopy((plain.state_dict(), learner.state_dict()))
    nets = copy.deepcopy((plain.net.state_dict(), learner.net.state_dict()))
    for each, state, net in zip((learner, plain), states, nets, strict=True):
        each.load_state_dict(state)
        each.net.load_state_dict(net)
        each.meta_update(tasks, torch.Generator().manual_seed(4))
    for mine, other in zip(learner.weights, plain.weights, strict=True):
        assert torch.allclose(mine, other, rtol=1e-7, atol=1e-9)


def test_what_is_not_finite_reaches_no_weight() -> None:
    _, learner = trained(True, "algo=fomaml", updates=2)
    tasks = image_tasks(dtype=torch.float64)
    before = [tensor.clone() for tensor in learner.meta_optimizer.tensors()]
    x, y, query_x, query_y = (field.clone() for field in tasks.fields())
    query_x[1, 0] = torch.inf
    with pytest.raises(DivergedError, match="the loss of task 1 in iteration 3 is"):
        learner.meta_update(TaskBatch(x, y, query_x, query_y), torch.Generator())
    assert all(map(torch.equal, learner.meta_optimizer.tensors(), before))
    assert learner.meta_optimizer.iteration == 2
    learner.meta_update(tasks, torch.Generator())
    assert learner.meta_optimizer.iteration == 3
