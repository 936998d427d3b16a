"""What holds for whatever stands in conf/algo."""

from __future__ import annotations

import copy
import io
from dataclasses import replace

import pytest
import torch
from helpers import (
    IMAGE_MODELS,
    UNTRAINED,
    WITHOUT_STEPS,
    config,
    image_tasks,
    keys_of,
    names,
    narrow,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fewshot_cli import algorithms, models
from fewshot_cli.algorithms.base import Algorithm, MetaLearner
from fewshot_cli.data.task import TaskBatch, score
from fewshot_cli.settings.schema import Optimizer
from fewshot_cli.stacked.acceleration import Acceleration

ALGOS = names("algo")
ITERATIONS = 40


def fresh_net() -> nn.Module:
    torch.manual_seed(0)
    return models.build(config("model=mlp").model, (1, 16, 16), 3).double()


def build(algo: str, chunk: int = 100, net: nn.Module | None = None) -> Algorithm:
    chosen = config(f"algo={algo}").algo
    if chosen.inner_optimizer is Optimizer.sgd:
        chosen.inner_lr = 0.02  # for a plain MLP; the shipped rates are for batch norm
    return algorithms.build(net or fresh_net(), chosen, ITERATIONS, Acceleration(chunk))


META_LEARNERS = [algo for algo in ALGOS if keys_of("algo", algo).meta_trains]


def build_meta_learner(algo: str, chunk: int = 100) -> MetaLearner:
    algorithm = build(algo, chunk)
    assert isinstance(algorithm, MetaLearner)
    return algorithm


def weights(algorithm: Algorithm) -> Tensor:
    return torch.cat([theta.detach().flatten() for theta in algorithm.net.parameters()])


def tasks() -> TaskBatch:
    return image_tasks(tasks=4, shots=4, dtype=torch.float64)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_these_have_no_outer_loop() -> None:
    assert set(ALGOS) - set(META_LEARNERS) == set(UNTRAINED)
    assert [algo for algo in ALGOS if config(f"algo={algo}").algo.meta_trains] == META_LEARNERS


@pytest.mark.parametrize("algo", ALGOS)
def test_adaptation_leaves_theta_and_fits_the_support_sets(algo: str) -> None:
    algorithm, batch = build(algo), tasks()
    before = weights(algorithm)
    losses = [
        float(score(learner(batch.support_x), batch.support_y).loss.mean().detach())
        for learner in algorithm.adapt(batch, 5, generator())
    ]
    assert len(losses) == 6
    if algo != "soft_kmeans":  # which clusters whatever it is asked about
        assert (losses[-1] < losses[0]) is (algo not in WITHOUT_STEPS)
    assert torch.equal(weights(algorithm), before)
    assert all(theta.grad is None for theta in algorithm.net.parameters())


@pytest.mark.parametrize("algo", ALGOS)
def test_tasks_adapt_as_if_alone(algo: str) -> None:
    algorithm, batch = build(algo), tasks()
    *_, together = algorithm.adapt(batch, 3, generator())
    outputs, alone = together(batch.query_x), []
    draws = generator()
    for task in batch.split(1):
        *_, learner = algorithm.adapt(task, 3, draws)
        alone.append(learner(task.query_x))
    assert torch.allclose(outputs, torch.cat(alone), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("algo", ALGOS)
@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(3)))
def test_other_names_for_the_classes_change_nothing_but_the_names(
    algo: str, order: list[int]
) -> None:
    """With the head's outputs in the new order too, since their initial weights differ."""
    names, net = torch.tensor(order), fresh_net()
    batch = tasks()
    renamed = replace(batch, support_y=names[batch.support_y], query_y=names[batch.query_y])
    other = copy.deepcopy(net)
    with torch.no_grad():
        other[-1].weight[names] = net[-1].weight
        other[-1].bias[names] = net[-1].bias
    *_, learner = build(algo, net=net).adapt(batch, 3, generator())
    *_, of_renamed = build(algo, net=other).adapt(renamed, 3, generator())
    outputs, again = learner(batch.query_x), of_renamed(batch.query_x)
    assert torch.allclose(again[..., names], outputs, rtol=1e-9, atol=1e-12)
    accuracies = score(outputs, batch.query_y).accuracy, score(again, renamed.query_y).accuracy
    assert torch.equal(*accuracies)


@pytest.mark.parametrize("algo", META_LEARNERS)
@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(4)))
def test_the_order_of_tasks_does_not_matter(algo: str, order: list[int]) -> None:
    batch, ends = tasks(), []
    fields = (field[order] for field in batch.fields())
    assert batch.classes is not None
    for given_batch in (batch, TaskBatch(*fields, batch.classes[order])):
        # Mini-batches are drawn by a task's place, so every step uses the whole support set here.
        chosen = config(f"algo={algo}").algo
        chosen.inner_batch, chosen.inner_lr = None, 0.001
        algorithm = algorithms.build(fresh_net(), chosen, ITERATIONS, Acceleration())
        assert isinstance(algorithm, MetaLearner)
        for _ in range(2):
            algorithm.meta_update(given_batch, generator())
        ends.append(weights(algorithm))
    assert torch.allclose(ends[0], ends[1], rtol=1e-8, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("model", IMAGE_MODELS)
@pytest.mark.parametrize("chunk", [1, 100])
@pytest.mark.parametrize("algo", META_LEARNERS)
def test_bf16_is_close(algo: str, model: str, chunk: int) -> None:
    chosen, batch, found = config(f"algo={algo}").algo, image_tasks(queries=8), []
    if chosen.inner_optimizer is Optimizer.sgd and chosen.inner_steps:
        chosen.inner_steps = 1  # long steps without batch norm blow rounding up
    if algo == "boil":
        chosen.inner_lr = 0.1  # of the body alone
    for bf16 in (False, True):
        torch.manual_seed(0)
        net = models.build(narrow(model), (1, 16, 16), 3)
        learner = algorithms.build(net, chosen, ITERATIONS, Acceleration(chunk, bf16=bf16))
        assert isinstance(learner, MetaLearner)
        found.append(learner.meta_update(batch, generator()).loss)
        assert found[-1].dtype is torch.float32
        assert all(weight.dtype is torch.float32 for weight in net.parameters())
    assert not torch.equal(*found)
    assert torch.allclose(*found, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("algo", META_LEARNERS)
def test_meta_updates_do_not_depend_on_the_chunk(algo: str) -> None:
    ends = []
    for chunk in (1, 3, 100):
        algorithm, draws = build_meta_learner(algo, chunk), generator()
        for _ in range(3):
            scores = algorithm.meta_update(tasks(), draws)
        assert scores.loss.shape == (4,)
        ends.append(weights(algorithm))
    assert torch.allclose(ends[0], ends[1], rtol=1e-9, atol=1e-12)
    assert torch.allclose(ends[0], ends[2], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("algo", META_LEARNERS)
def test_meta_training_learns_its_tasks(algo: str) -> None:
    algorithm, draws = build_meta_learner(algo), generator()
    losses = [float(algorithm.meta_update(tasks(), draws).loss.mean()) for _ in range(ITERATIONS)]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("algo", META_LEARNERS)
def test_state_saved_and_loaded_goes_on_to_the_same_bits(algo: str) -> None:
    algorithm, draws = build_meta_learner(algo), generator()
    for _ in range(3):
        algorithm.meta_update(tasks(), draws)
    file = io.BytesIO()
    torch.save(algorithm.state_dict(), file)
    file.seek(0)
    other = build(algo, net=copy.deepcopy(algorithm.net))
    assert isinstance(other, MetaLearner)
    other.load_state_dict(torch.load(file, weights_only=True))
    other_draws = torch.Generator()
    other_draws.set_state(draws.get_state())
    for _ in range(2):
        algorithm.meta_update(tasks(), draws)
        other.meta_update(tasks(), other_draws)
    assert torch.equal(weights(algorithm), weights(other))
