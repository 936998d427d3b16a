"""Runs of earlier releases go on working, after keys were added too: tests/earlier has some.

Each folder there is named by the commit that made it: finished runs of two iterations, what that
commit left when it went on to four, and a sweep.
"""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import commands, metrics, names

CHECKOUT = Path(__file__).parents[1]
RELEASES = sorted((CHECKOUT / "tests" / "earlier").iterdir())
SETTINGS = [
    *("model=mlp", "model.hidden=[4]", "ways=3", "meta_batch=2", "iterations=2", "eval.tasks=3"),
    *("eval.valid_tasks=2", "eval.every=1", "eval.queries=2", "device=cpu"),
]


def newer(tree: Path) -> Path:
    """This code with keys that it does not have yet: shared ones, and one of an algorithm's own."""
    shutil.copytree(CHECKOUT / "fewshot_cli", tree / "fewshot_cli")
    shutil.copytree(CHECKOUT / "conf", tree / "fewshot_cli" / "conf")
    schema = tree / "fewshot_cli" / "settings" / "schema.py"
    text = schema.read_text()
    for before, added in (
        ("    inner_lr: float = key(", '    later: float = key(0.5, above=0, help="later")\n'),
        ("    seed: int = key(role", '    latest: int = key(3, help="latest")\n'),
        ("    transductive: bool", '    late: bool = key(True, help="late")\n'),
    ):
        assert text.count(before) == 1
        text = text.replace(before, added + before)
    schema.write_text(text)
    for file in (tree / "fewshot_cli" / "conf" / "algo").glob("*.yaml"):
        listed = re.sub(r"^( *)(kind: \w+)$", r"\1\2\n\1later: 0.5", file.read_text(), flags=re.M)
        file.write_text(listed)
    return tree


def do(folder: Path, cache_dir: Path, lines: list[list[str]], tree: Path = CHECKOUT) -> str:
    environment = {"FEWSHOT_CACHE": str(cache_dir), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree)}
    return commands(folder, lines, **environment)


def left(run: Path) -> tuple[str, bytes, bytes]:
    """The figures, times apart, the tasks and the weights."""
    state = torch.load(run / "checkpoints" / "last.pt", weights_only=True)
    weights = io.BytesIO()
    torch.save([state["net"], state["algorithm"]], weights)
    return metrics(run), (run / "test_tasks.csv").read_bytes(), weights.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_runs_of_an_earlier_release(release: Path, tmp_path: Path, cache_dir: Path) -> None:
    trained = [path.name for path in sorted((release / "expected").iterdir())]
    assert (
        {"maml", "reptile", "finetune", "sinusoid"} <= set(trained) <= {*names("algo"), "sinusoid"}
    )
    grow = ["iterations=4", "eval.score_steps=all"]  # a test had a row for each step
    lines = [["resume", f"runs/{name}", *grow] for name in trained]
    lines += [["evaluate", f"runs/{path.name}"] for path in sorted((release / "runs").iterdir())]
    lines += [
        ["train", "-m", "algo=maml,reptile", "seed=1,2", *SETTINGS, "sweep.dir=sweep"],
        ["train", "algo=maml", "seed=3", *SETTINGS, "run.dir=third"],
        ["compare", "sweep", "third", "--csv", "table.csv"],
    ]
    ends = {}
    trees = {"as it is": CHECKOUT, "with later keys": newer(tmp_path / "tree")}
    for label, tree in trees.items():
        shutil.copytree(release, tmp_path / label)
        said = do(tmp_path / label, cache_dir, lines, tree)
        assert "4 of 4 jobs completed" in said
        assert "4 jobs are complete already" in said
        jobs = {path.name for path in (tmp_path / label / "sweep").iterdir() if path.is_dir()}
        assert jobs == {path.name for path in (release / "sweep").iterdir() if path.is_dir()}
        # One row for MAML, of the two earlier runs and of this one.
        table = pd.read_csv(tmp_path / label / "table.csv")
        assert table["algo.name"].tolist().count("maml") == 1
        assert table.set_index("algo.name").seeds.to_dict() == {"maml": 3, "reptile": 2}
        ends[label] = {name: left(tmp_path / label / "runs" / name) for name in trained}
    assert ends["as it is"] == ends["with later keys"]

    for name in trained:
        run, expected = tmp_path / "as it is" / "runs" / name, release / "expected" / name
        assert len(list((run / "evaluations").iterdir())) == 1
        here, there = (pd.read_csv(path / "metrics.csv") for path in (run, expected))
        assert here.split.tolist() == there.split.tolist()
        assert here.iteration.tolist() == there.iteration.tolist()
        # Another processor rounds in another way.
        assert here.loss.tolist() == pytest.approx(there.loss.tolist(), rel=1e-4)
        weights, earlier = (
            torch.load(path, weights_only=True)["net"]
            for path in (run / "checkpoints" / "last.pt", expected / "last.pt")
        )
        for key, weight in earlier.items():
            assert torch.allclose(weights[key], weight, rtol=1e-4, atol=1e-5), key


@pytest.mark.slow
def test_a_run_of_an_earlier_release_adapts(tmp_path: Path, cache_dir: Path) -> None:
    from helpers import little_folder

    little_folder(tmp_path / "support", classes=3)
    for release in RELEASES:
        run = str(release / "runs" / "maml")
        words = ["adapt", run, "--support", "support", "--query", "support", "--out", release.name]
        assert "Judged " in do(tmp_path, cache_dir, [words])
        assert len(pd.read_csv(tmp_path / release.name / "predictions.csv")) > 30
