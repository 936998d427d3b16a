"""The heads without training, each against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import config, image_tasks
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import Tensor

from fewshot_cli import algorithms, models
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.models import Network
from fewshot_cli.settings.errors import UserError
from fewshot_cli.stacked.acceleration import Acceleration

HEADS = ["ncm", "ridge", "logistic"]
WAYS = 3


def network(*overrides: str) -> Network:
    torch.manual_seed(0)
    return models.build(config("model=cnn4", *overrides).model, (1, 16, 16), WAYS).double()


def tasks() -> TaskBatch:
    """Five images of the first class in a support set, and two of the others."""
    whole = image_tasks(shots=5, dtype=torch.float64)
    few = torch.tensor([0, 1, 2, 3, 4, 5, 6, 10, 11])
    return TaskBatch(whole.support_x[:, few], whole.support_y[:, few], whole.query_x, whole.query_y)


def said(algo: str, net: Network, *overrides: str, steps: int = 0) -> Tensor:
    chosen = config(f"algo={algo}", *overrides).algo
    algorithm = algorithms.build(net, chosen, 0, Acceleration())
    *_, learner = algorithm.adapt(tasks(), steps, torch.Generator())
    return learner(tasks().query_x)


def features(net: Network, task: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the support and query sets, each in a batch of its own; labels of the support set."""
    with torch.no_grad():
        x, query = net.body(tasks().support_x[task]), net.body(tasks().query_x[task])
    return x.numpy(), query.numpy(), tasks().support_y[task].numpy()


@pytest.mark.parametrize("length", ["null", "1"])
def test_ncm_chooses_the_nearest_mean(length: str) -> None:
    net = network(f"model.feature_norm={length}")
    outputs = said("ncm", net)
    for task in range(len(tasks())):
        x, query, y = features(net, task)
        means = np.stack([x[y == label].mean(0) for label in range(WAYS)])
        distances = ((query[:, None] - means) ** 2).sum(-1)
        # The logits differ from minus the distances by what is alike for all classes.
        apart = outputs[task].numpy() + distances
        assert np.allclose(apart - apart[:, :1], 0, atol=1e-9)


@pytest.mark.parametrize("penalty", [0.1, 3.0])
def test_ridge_is_the_least_squares_solution(penalty: float) -> None:
    net = network()
    outputs = said("ridge", net, f"algo.penalty={penalty}")
    for task in range(len(tasks())):
        x, query, y = features(net, task)
        pull = penalty * (x**2).sum(1).mean() * np.eye(x.shape[1])
        weight = np.linalg.solve(x.T @ x + pull, x.T @ np.eye(WAYS)[y])
        assert np.allclose(outputs[task].numpy(), query @ weight, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_logistic_is_the_minimum(penalty: float) -> None:
    net = network()
    outputs = said("logistic", net, f"algo.penalty={penalty}")
    for task in range(len(tasks())):
        x, query, y = features(net, task)
        length = np.sqrt((x**2).sum(1).mean())
        scaled = x / length

        def loss(flat: np.ndarray, scaled: np.ndarray = scaled, y: np.ndarray = y) -> float:
            weight = flat.reshape(WAYS, -1)
            right = log_softmax(scaled @ weight.T, 1)[np.arange(len(y)), y]
            return float(-right.sum() + penalty / 2 * (weight**2).sum())

        best = minimize(loss, np.zeros(WAYS * x.shape[1]), method="L-BFGS-B", tol=1e-14)
        expected = query / length @ best.x.reshape(WAYS, -1).T
        assert np.allclose(outputs[task].numpy(), expected, atol=2e-3)


def test_soft_k_means_moves_the_means_by_the_queries() -> None:
    net, temperature = network("model.feature_norm=1"), 0.05
    outputs = said("soft_kmeans", net, f"algo.temperature={temperature}", steps=2)
    first = said("soft_kmeans", net, f"algo.temperature={temperature}", steps=0)
    nearest = said("ncm", net)
    assert torch.equal(first.argmax(-1), nearest.argmax(-1))
    for task in range(len(tasks())):
        x, query, y = features(net, task)
        of = np.eye(WAYS)[y]
        means = of.T @ x / of.sum(0)[:, None]
        for step in range(3):
            logits = -((query[:, None] - means) ** 2).sum(-1) / temperature
            shares = np.exp(log_softmax(logits, 1))
            if step < 2:
                total = of.sum(0) + shares.sum(0)
                means = (of.T @ x + shares.T @ query) / total[:, None]
        assert np.allclose(outputs[task].numpy(), logits, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("algo", HEADS)
def test_more_ways_than_the_network_has_outputs(algo: str) -> None:
    chosen = config(f"algo={algo}").algo
    batch = image_tasks(ways=7, dtype=torch.float64)
    (learner,) = algorithms.build(network(), chosen, 0, Acceleration()).adapt(
        batch, 0, torch.Generator()
    )
    assert learner(batch.query_x).shape == (3, 14, 7)


@pytest.mark.parametrize("algo", ["ncm", "logistic", "soft_kmeans"])
def test_they_are_for_classes_only(algo: str) -> None:
    with pytest.raises(UserError, match=rf"algo={algo}: data=sinusoid is regression"):
        config("data=sinusoid", "model=mlp", f"algo={algo}")


def test_soft_k_means_is_never_one_by_one() -> None:
    with pytest.raises(UserError, match=r"eval.transductive=false: algo=soft_kmeans judges"):
        config("algo=soft_kmeans", "eval.transductive=false")
