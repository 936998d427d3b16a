"""The commands of docs/algorithms.md, at a small budget, make its picture of five runs."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TINY, config
from matplotlib.figure import Figure

from fewshot_cli.compare import style
from fewshot_cli.plots import weight_space
from fewshot_cli.plots.walk import TASKS, follow
from fewshot_cli.progress import Progress
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings.compose import changed_config, jobs
from fewshot_cli.settings.errors import UserError
from fewshot_cli.sweeps.directory import job_name
from fewshot_cli.training.run import run
from fewshot_cli.training.trajectory import recorded

PAGE = (Path(__file__).parents[2] / "docs" / "algorithms.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SMALL = [word for word in TINY if not word.startswith(("ways", "meta_batch"))]


def commands(verb: str) -> list[list[str]]:
    """The words of the page's commands of a verb that are about paths."""
    lines = "".join(BLOCKS).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.startswith(verb) and "paths" in line]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The runs of the page, in the order in which it draws them."""
    folder = tmp_path_factory.mktemp("five")
    for words in commands("fewshot train"):
        overrides = [word for word in words[2:] if word != "-m" and ".dir=" not in word]
        (place,) = (word.split("=")[1] for word in words if ".dir=" in word)
        if "-m" in words:
            for job in jobs([*overrides, *SMALL]):
                name = job_name(job.swept, job.config)
                run(job.config, RunDirectory(folder / place / name))
        else:
            run(config(*overrides, *SMALL), RunDirectory(folder / place))
    (drawn,) = commands("fewshot plot paths")
    # A shell is what knows `*` and `{a,b}`.
    shell = ["bash", "-c", f"printf '%s\\n' {' '.join(drawn[3:])}"]
    listed = subprocess.check_output(shell, cwd=folder, text=True)
    return [folder / path for path in listed.splitlines()]


@pytest.mark.slow
def test_five_runs_side_by_side(runs: list[Path]) -> None:
    figure = weight_space.draw(runs, "pca")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:5] == ["finetune", "maml, one task", "maml", "fomaml", "reptile"]
    assert all(re.fullmatch(r"iteration \d+, magnified", title) for title in titles[5:])
    assert len(titles) == 10
    shares = [
        float(re.search(r"\((.*) %\)", label)[1])
        for axes in figure.axes
        for label in (axes.get_xlabel(), axes.get_ylabel())
    ]
    assert all(0 < share <= 100 for share in shares)
    assert all(first >= second for first, second in zip(shares[::2], shares[1::2], strict=True))


def drawn_lengths(figure: Figure, panel: int) -> torch.Tensor:
    """How far apart the ends of each task's line are, `[T]`."""
    ends = [
        line.get_xydata()[[0, -1]]
        for line in figure.axes[panel].lines
        if line.get_color() in style.COLOURS[:TASKS]
    ]
    return torch.tensor(np.array(ends)).diff(dim=1).norm(dim=-1)[:, 0]


@pytest.mark.parametrize("plane", ["pca", "random"])
def test_inner_paths_are_drawn_to_scale(runs: list[Path], plane: str) -> None:
    """In a plane they are at most as long as they are, and little shorter in the one of PCA."""
    maml = RunDirectory(runs[2])
    points = recorded(maml)
    with Progress("Paths", len(points), "points") as progress:
        walked = follow(changed_config(maml.config, [], ()), points, True, progress)
    whole = (walked.inner[1, :, -1] - walked.inner[1, :, 0]).norm(dim=1)
    seen = drawn_lengths(weight_space.draw([maml.path], plane), 1)
    assert (seen <= whole * 1.0001).all()
    assert (float(seen.sum() / whole.sum()) > 0.7) is (plane == "pca")


@pytest.mark.slow
@pytest.mark.parametrize(("plane", "ending"), [("pca", "png"), ("random", "svg")])
def test_the_same_runs_give_the_same_file(
    runs: list[Path], tmp_path: Path, plane: str, ending: str
) -> None:
    files = [tmp_path / f"{number}.{ending}" for number in range(2)]
    for file in files:
        style.save(weight_space.draw(runs[:2], plane), file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_runs_with_other_tasks_are_refused(runs: list[Path], tmp_path: Path) -> None:
    other = config("data=sinusoid", "model=mlp", *SMALL, "record_paths=true", "shots=5")
    run(other, RunDirectory(tmp_path))
    with pytest.raises(UserError, match=rf"{tmp_path}: has another `shots` than {runs[0]}"):
        weight_space.draw([runs[0], tmp_path], "pca")


def test_an_algorithm_without_an_inner_loop_is_refused(tmp_path: Path, cache_dir: Path) -> None:
    chosen = config("algo=protonet", "model=mlp", *TINY, "record_paths=true")
    chosen.cache_dir = str(cache_dir)
    run(chosen, RunDirectory(tmp_path))
    with pytest.raises(UserError, match=r"algo=protonet makes no inner steps"):
        weight_space.draw([tmp_path], "pca")


def test_shares_are_read_without_an_exponent() -> None:
    shares = [weight_space._percent(share) for share in (0.998, 0.764, 0.17, 0.0213, 0.002)]
    assert shares == ["100 %", "76 %", "17 %", "2.1 %", "0.2 %"]
