"""A comparison means something only if all sides do the same work."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import of_all

from benchmarks import rivals
from benchmarks.contest import contest, report
from benchmarks.speed import chunk_of, draw, network, ours
from fewshot_cli import algorithms
from fewshot_cli.algorithms.base import MetaLearner
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.settings.compose import job_config
from fewshot_cli.stacked.acceleration import Acceleration


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("first_order", [False, True])
def test_one_meta_update_reaches_the_same_weights(first_order: bool, steps: int) -> None:
    algo = "fomaml" if first_order else "maml"
    config = job_config(["data=sinusoid", "model=mlp", f"algo={algo}", f"algo.inner_steps={steps}"])
    drawn, lr = draw(config, 4, 1), config.algo.inner_lr
    # In float64: in float32 Adam brings a gradient that is only rounding to the size of the others.
    tasks = TaskBatch(*(field.double() for field in drawn.fields()))
    memory = rivals.tasks_in_memory(tasks)
    nets = [network(config, tasks).double() for _ in range(3)]
    learner = algorithms.build(nets[0], config.algo, 10**6, Acceleration())
    assert isinstance(learner, MetaLearner)
    learner.meta_update(tasks, torch.Generator())
    rivals.maml_loop(nets[1], memory.copy, lr, steps, first_order)()
    rivals.functional_maml(nets[2], tasks, lr, steps, first_order)()
    before = list(network(config, tasks).double().parameters())
    for old, *after in zip(before, *(net.parameters() for net in nets), strict=True):
        assert not torch.equal(old, after[0])
        for other in after[1:]:
            assert torch.allclose(after[0], other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(*of_all(first_order=[False, True], updates=[None, 3]))
def test_jax_s_meta_updates_reach_the_same_weights(first_order: bool, updates: int | None) -> None:
    jax = pytest.importorskip("jax")
    from benchmarks import on_jax

    config = job_config(["data=sinusoid", "model=mlp"])
    tasks = TaskBatch(*(field.double() for field in draw(config, 4, 1).fields()))
    net = network(config, tasks).double()
    with jax.enable_x64(True):
        theirs = on_jax.maml(net, tasks, 0.1, 2, first_order, updates)()
    loop = rivals.maml_loop(net, lambda: rivals.tasks_in_memory(tasks), 0.1, 2, first_order)
    for _ in range(updates or 1):
        loop()
    for mine, other in zip(net.parameters(), theirs, strict=True):
        assert np.allclose(mine.detach().numpy(), np.asarray(other), rtol=1e-7, atol=1e-9)


def test_learn2learn_s_networks_are_built_without_the_rest_of_it() -> None:
    images = torch.rand(2, 1, 28, 28)
    assert (
        rivals.OmniglotCNN(5)(images).shape == rivals.OmniglotFC(28**2, 5)(images).shape == (2, 5)
    )


def test_the_images_of_the_limit_are_counted() -> None:
    assert rivals.matched_images(4, support=5, query=75, steps=1, first_order=True) == 4 * 80
    assert rivals.matched_images(4, support=5, query=75, steps=2, first_order=False) == 4 * 105


def test_a_contest_and_its_report(tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    config = job_config(["algo=fomaml", "model=fc"])
    tasks = draw(config, 2, 1)
    assert chunk_of(config, tasks) > 1
    times = contest({"ours": ours(config, tasks, 2), "nothing": lambda: None}, rounds=2)
    assert times["ours"] > times["nothing"] > 0
    report([{"setting": "a", **times}], "Title", tmp_path / "new" / "table.csv")
    assert "Title" in capsys.readouterr().out
    assert list(pd.read_csv(tmp_path / "new" / "table.csv")) == ["setting", "ours", "nothing"]
