from __future__ import annotations

from pathlib import Path

import pytest
import stand_ins
import torch
from helpers import TINY, TOGETHER, WITHOUT_STEPS, choosing, config, each_value, pairs
from torch.func import functional_call, grad

from fewshot_cli.data.task import TaskShape, losses
from fewshot_cli.plots.walk import TASKS, Walk, flat, follow, half_way
from fewshot_cli.progress import Progress
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config
from fewshot_cli.training import checkpoints, trajectory
from fewshot_cli.training.run import run
from fewshot_cli.training.seeding import generator
from fewshot_cli.training.setup import Setup, prepare

# Of the data sets that are read from folders, one stands for all.
OTHERS = [*stand_ins.MAKERS, "omniglot", "omniglot_alphabets"]
CASES = [
    (data, algo)
    for data, algo in pairs()
    if data not in OTHERS and algo not in (*WITHOUT_STEPS, *TOGETHER)
]


def walked(folder: Path, chosen: Config, with_head: bool = True) -> tuple[Walk, Setup, list[Path]]:
    directory = RunDirectory(folder)
    run(chosen, directory)
    points = trajectory.recorded(directory)
    with Progress("Paths", len(points), "points") as progress:
        return follow(chosen, points, with_head, progress), prepare(chosen), points


def setting(cache_dir: Path, data: str, *overrides: str) -> Config:
    setting = ["model=mlp", *TINY, *choosing(data, cache_dir.parent)]
    chosen = config(*setting, "record_paths=true", *overrides)
    chosen.cache_dir = str(cache_dir)
    return chosen


@pytest.mark.parametrize(("data", "algo"), each_value(CASES))
def test_inner_paths_begin_at_theta_and_end_at_the_adapted_weights(
    tmp_path: Path, cache_dir: Path, data: str, algo: str
) -> None:
    chosen = setting(cache_dir, data, f"algo={algo}", "algo.eval_steps=2", "algo.inner_lr=0.01")
    with_head = data == "sinusoid" or algo != "finetune"
    found, setup, points = walked(tmp_path, chosen, with_head)
    assert len(points) == (1 if algo == "scratch" else 3)
    weights = sum(weight.numel() for weight in setup.algorithm.net.parameters())
    head = 0 if with_head else sum(map(torch.Tensor.numel, setup.algorithm.net[-1].parameters()))
    assert found.theta.shape == (len(points), weights - head)
    assert found.inner.shape == (3, TASKS, 3, weights - head)
    origins = found.theta[[0, found.half_way, -1]]
    assert torch.equal(found.inner[:, :, 0], origins[:, None].expand(-1, TASKS, -1))
    assert (found.inner[:, :, -1] != origins[:, None]).any(-1).all()
    assert (found.update is None) == (algo == "scratch")
    assert (found.loss is None) == (not with_head)


@pytest.mark.parametrize("algo", ["maml", "scratch", "finetune"])
def test_inner_points_are_steps_of_gradient_descent(
    tmp_path: Path, cache_dir: Path, algo: str
) -> None:
    chosen = setting(cache_dir, "sinusoid", f"algo={algo}", "algo.eval_steps=3")
    found, setup, points = walked(tmp_path, chosen)
    tasks = setup.source.sample(
        "train", TASKS, TaskShape(1, chosen.shots, chosen.eval.queries), generator(0, "path tasks")
    )
    checkpoints.load(points[-1], setup.algorithm)
    net = setup.algorithm.net

    def loss(weights: dict[str, torch.Tensor], task: int) -> torch.Tensor:
        outputs = functional_call(net, weights, (tasks.support_x[task],))
        return losses(outputs[None], tasks.support_y[task][None]).sum()

    for task in range(TASKS):
        phi = {name: weight.detach() for name, weight in net.named_parameters()}
        for step in range(4):
            expected = flat(phi.values())[0]
            assert torch.allclose(found.inner[-1, task, step], expected, atol=1e-6)
            slope = grad(loss)(phi, task)
            phi = {name: phi[name] - chosen.algo.inner_lr * slope[name] for name in phi}


def test_reptile_s_update_is_the_mean_of_its_inner_paths(tmp_path: Path, cache_dir: Path) -> None:
    """Inner steps in training as in evaluation, all of the support set in each."""
    inner = ["algo.inner_optimizer=sgd", "algo.inner_steps=4", "algo.eval_steps=4"]
    whole = ["algo.inner_batch=null", "algo.eval_inner_batch=null", "algo.inner_lr=0.02"]
    chosen = setting(cache_dir, "sinusoid", "algo=reptile", *inner, *whole, "meta_batch=4")
    found, _, _ = walked(tmp_path, chosen)
    pulls = found.inner[1, :, -1] - found.theta[found.half_way]
    assert found.update is not None
    assert torch.allclose(found.update, pulls.mean(0), atol=1e-6)


def test_one_task_a_meta_batch_is_one_task_s_update(tmp_path: Path, cache_dir: Path) -> None:
    inner = ["algo.inner_optimizer=sgd", "algo.inner_steps=4", "algo.eval_steps=4"]
    whole = ["algo.inner_batch=null", "algo.eval_inner_batch=null", "algo.inner_lr=0.02"]
    chosen = setting(cache_dir, "sinusoid", "algo=reptile", *inner, *whole, "meta_batch=1")
    found, _, _ = walked(tmp_path, chosen)
    pull = found.inner[1, 0, -1] - found.theta[found.half_way]
    assert found.update is not None
    assert torch.allclose(found.update, pull, atol=1e-6)


@pytest.mark.slow
def test_the_loss_is_the_mean_query_loss_of_the_tasks(tmp_path: Path, cache_dir: Path) -> None:
    chosen = setting(cache_dir, "glyphs", "algo=maml")
    found, setup, points = walked(tmp_path, chosen)
    tasks = setup.source.sample(
        "train", TASKS, TaskShape(3, chosen.shots, chosen.eval.queries), generator(0, "path tasks")
    )
    assert found.loss is not None
    seen = found.loss(found.theta)
    for point, loss in zip(points, seen, strict=True):
        checkpoints.load(point, setup.algorithm)
        outputs = [setup.algorithm.net(x) for x in tasks.query_x]
        expected = losses(torch.stack(outputs), tasks.query_y).mean()
        assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-5)


@pytest.mark.slow
def test_a_convolutional_network(tmp_path: Path, cache_dir: Path) -> None:
    small = ["model=cnn4", "model.channels=4", "algo=fomaml"]
    found, _, _ = walked(tmp_path, setting(cache_dir, "glyphs", *small))
    assert found.loss is None
    assert found.inner.isfinite().all()


def test_long_inner_paths_keep_their_end(tmp_path: Path, cache_dir: Path) -> None:
    chosen = setting(cache_dir, "sinusoid", "algo=scratch", "algo.eval_steps=50")
    found, setup, _ = walked(tmp_path, chosen)
    assert found.inner.shape[2] < 22
    again = setting(cache_dir, "sinusoid", "algo=scratch", "algo.eval_steps=50")
    tasks = setup.source.sample(
        "train", TASKS, TaskShape(1, again.shots, again.eval.queries), generator(0, "path tasks")
    )
    *_, learner = setup.algorithm.adapt(tasks, 50, generator(0, "unused"))
    assert isinstance(learner, torch.nn.Module)
    assert torch.equal(found.inner[0, :, -1], flat(learner.parameters(), TASKS))


def test_half_way_is_by_length() -> None:
    assert half_way(torch.tensor([[0.0], [6.0], [9.0], [9.5], [10.0], [10.5], [11.0]])) == 1
    assert half_way(torch.tensor([[3.0]])) == 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["algo.inner_lr=1e30", "algo.eval_steps=9", "algo=scratch"], "adaptation diverges"),
        (["algo=anil"], "adapts the head alone"),
    ],
)
def test_what_has_no_inner_path_is_refused(
    tmp_path: Path, cache_dir: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        walked(tmp_path, setting(cache_dir, "sinusoid", *overrides), with_head=False)
