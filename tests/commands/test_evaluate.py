from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import Command
from helpers import LITTLE, TINY, little_folder, little_omniglot

from fewshot_cli.commands.evaluate import command
from fewshot_cli.settings import compose
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.identity import may_change
from fewshot_cli.training import checkpoints


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """One finished run for all tests of this file."""
    from helpers import config

    from fewshot_cli.runs.directory import RunDirectory
    from fewshot_cli.training.run import run

    chosen = config("algo=reptile", "model=mlp", *TINY)
    chosen.cache_dir = str(cache_dir)
    directory = RunDirectory(tmp_path_factory.mktemp("trained") / "run")
    run(chosen, directory)
    return directory.path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def evaluation(run: Path) -> Path:
    (found,) = (run / "evaluations").iterdir()
    return found


def test_the_same_settings_give_the_same_figures(fewshot: Command, run: Path) -> None:
    done = fewshot("evaluate", "run")
    assert done.returncode == 0, done.stderr
    again = evaluation(run)
    assert (again / "test_tasks.csv").read_bytes() == (run / "test_tasks.csv").read_bytes()
    assert "meta-test" in done.stdout
    assert f"Files: {again.relative_to(run.parent)}\n" in done.stdout
    assert "Next:  fewshot evaluate run eval.tasks=2000\n" in done.stdout


def test_other_numbers_of_tasks_steps_and_shots(fewshot: Command, run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = fewshot("evaluate", "run", "eval.tasks=11", "algo.eval_steps=7", "shots=3")
    assert done.returncode == 0, done.stderr
    test = json.loads((evaluation(run) / "summary.json").read_text())["test"]
    assert test["tasks"] == 11
    assert [step["adaptation_steps"] for step in test["steps"]] == [0, 1, 7]
    assert len(pd.read_csv(evaluation(run) / "test_tasks.csv")) == 11 * 3
    assert len(pd.read_csv(evaluation(run) / "metrics.csv")) == 3
    assert all(path.read_bytes() == content for path, content in before.items())


def test_another_data_set_of_the_same_shape(fewshot: Command, run: Path) -> None:
    little_omniglot(run.parent / "o")
    done = fewshot("evaluate", "run", "data=omniglot", "data.root=o", *LITTLE)
    assert done.returncode == 0, done.stderr
    assert json.loads((evaluation(run) / "summary.json").read_text())["data"] == "omniglot"


def test_the_last_checkpoint_instead_of_the_best(fewshot: Command, run: Path) -> None:
    assert fewshot("evaluate", "run", "eval.checkpoint=last").returncode == 0
    assert json.loads((evaluation(run) / "summary.json").read_text())["test"]["iteration"] == 4


def cut(run: Path) -> None:
    path = run / "checkpoints" / "best.pt"
    path.write_bytes(path.read_bytes()[:700])


def remove_checkpoint(run: Path) -> None:
    (run / "checkpoints" / "best.pt").unlink()


def lock_checkpoint(run: Path) -> None:
    remove_checkpoint(run)
    (run / "checkpoints" / "best.pt").mkdir()


def remove_config(run: Path) -> None:
    (run / "config.yaml").unlink()


def break_config(run: Path) -> None:
    (run / "config.yaml").write_text("seed: [")


def nothing(run: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("damage", "words", "message"),
    [
        (nothing, ["eval.task=3"], "eval.task: cannot be changed afterwards; expected eval.tasks"),
        (nothing, ["eval.tasks=0"], "eval.tasks=0: expected a finite number above 0"),
        (nothing, ["data=nope"], "data=nope: expected cifarfs, cub, fc100, folder, glyphs"),
        (nothing, ["seed=5"], "seed: cannot be changed afterwards"),
        (nothing, ["data=omniglot", "data.root=none"], "none: expected images_back"),
        (nothing, ["algo=maml"], "algo: cannot be changed afterwards"),
        (nothing, ["data=sinusoid"], "data=sinusoid"),
        (cut, [], "last one can be tested: fewshot evaluate run eval.checkpoint=last"),
        (cut, [], "best.pt: expected a whole checkpoint"),
        (remove_checkpoint, [], "best.pt: no such checkpoint"),
        (lock_checkpoint, [], "best.pt: cannot read it"),
        (remove_config, [], "run: expected a run directory, which has a config.yaml"),
        (break_config, [], "config.yaml"),
    ],
)
def test_a_wrong_input_is_one_line_and_leaves_nothing(
    fewshot: Command, run: Path, damage: object, words: list[str], message: str
) -> None:
    assert callable(damage)
    damage(run)
    done = fewshot("evaluate", "run", *words)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert message in done.stderr
    assert done.stdout == ""
    assert not (run / "evaluations").exists()


def test_next_keeps_what_was_typed(fewshot: Command, run: Path) -> None:
    words = ["shots=2", "eval.tasks=7", "data.root='a b'", "data=glyphs"]
    done = fewshot("evaluate", "run", *words[:2], words[3])
    assert done.returncode == 0, done.stderr
    line = "Next:  fewshot evaluate run shots=2 data=glyphs eval.tasks=2000"
    assert done.stdout.splitlines()[-1] == line
    again = fewshot(*shlex.split(line)[2:-1], "eval.tasks=8")
    assert again.returncode == 0, again.stderr
    assert (
        command(Path("a b"), words[2:3]) == """fewshot evaluate 'a b' 'data.root='"'"'a b'"'"''"""
    )


@pytest.mark.parametrize("early", [True, False])
def test_an_unfinished_run_without_a_best_checkpoint_says_the_way_on(
    fewshot: Command, run: Path, early: bool
) -> None:
    """Killed before its first meta-validation, with a checkpoint or before that."""
    for file in run.iterdir():
        if file.name not in ("config.yaml", "metrics.csv", "status.json", "checkpoints"):
            file.unlink()
    (run / "status.json").write_text('{"status": "running", "error": null}')
    last = run / "checkpoints" / "last.pt"
    state = checkpoints.read(last)
    shutil.rmtree(run / "checkpoints")
    if not early:
        del state["format"]
        state["training"] |= {"best": None, "to_validate": True}
        checkpoints.write(last, state)
    done = fewshot("evaluate", "run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "fewshot: run/checkpoints/best.pt: no such checkpoint; the run is interrupted. "
        "Next: fewshot resume run\n"
    )
    assert fewshot("resume", "run").returncode == 0
    assert fewshot("evaluate", "run").returncode == 0


def test_a_folder_that_is_no_run(fewshot: Command) -> None:
    done = fewshot("evaluate", "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("fewshot: nowhere: expected a run directory")


@pytest.mark.slow
def test_all_classes_of_another_folder(fewshot: Command, tmp_path: Path) -> None:
    """Those that the run was trained on, by their paths, are left out; its own splits stay."""
    little_folder(tmp_path / "here", classes=7)
    little_folder(tmp_path / "there", classes=9)
    small = ["data.image_size=8", "model=mlp", "algo=reptile", *TINY]
    done = fewshot("train", "data=folder", "data.root=here", *small, "run.dir=run")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "run" / "splits.csv").set_index("class").split
    trained = {*table.index[table == "train"]}
    assert len(trained) == 4

    words = ["evaluate", "run", "data=folder", "data.image_size=8", "data.root=there"]
    done = fewshot(*words, "data.split=test")
    assert done.returncode == 0, done.stderr
    assert "Left out 4 classes that the run was trained or validated on\n" in done.stderr
    found = evaluation(tmp_path / "run")
    test = json.loads((found / "summary.json").read_text())["test"]
    assert (test["classes"], test["left_out"]) == (5, 4)
    assert "The interval is over tasks of these 5 classes alone" in done.stdout
    shutil.rmtree(found)

    done = fewshot(*words, "data.split=test", "ways=6")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "fewshot: ways=6: data=folder has 5 classes in its test split beside 4 that the run has "
        "met; expected ways=5\n"
    )

    done = fewshot("evaluate", "run", "data.split=test")
    assert done.returncode == 0, done.stderr
    again = evaluation(tmp_path / "run")
    assert (again / "test_tasks.csv").read_bytes() == (tmp_path / "run/test_tasks.csv").read_bytes()
    shutil.rmtree(again)

    # With other ways the splits stay those of the run.
    assert fewshot("evaluate", "run", "ways=2").returncode == 0
    test = json.loads((evaluation(tmp_path / "run") / "summary.json").read_text())["test"]
    assert test["classes"] == 3
    assert "left_out" not in test
    done = fewshot("evaluate", "run", "ways=4")
    assert done.stderr == (
        "fewshot: ways=4: data=folder has 3 classes in its test split; expected ways=3, or "
        "data.split=test, which tests on all that the run has not met\n"
    )


# What only the folder reads is no part of the other cells.
OTHER = ["data.split=test", "data.colour=grey", "data.image_size=28"]
CELLS = ["ways=2,3", "eval.transductive=true,false", "data=glyphs,folder:there", "eval.tasks=4"]


@pytest.mark.slow
def test_a_grid_tests_every_cell_as_a_test_of_its_own_does_and_none_twice(
    fewshot: Command, run: Path
) -> None:
    little_folder(run.parent / "there")
    words = [*CELLS, *OTHER]
    done = fewshot("evaluate", "run", "-m", *words)
    assert done.returncode == 0, done.stderr
    (table,) = (run / "evaluations").glob("grid_*.csv")
    assert f"Table: run/evaluations/{table.name}\n" in done.stdout
    cells = pd.read_csv(table, keep_default_na=False)
    root = f"folder:{run.parent / 'there'}"
    assert cells["data"].tolist() == ["glyphs", root] * 4
    assert cells["ways"].tolist() == [2] * 4 + [3] * 4
    assert cells["eval.transductive"].tolist() == [True, True, False, False] * 2
    assert (cells.tasks == 4).all()
    assert len(set(cells.evaluation)) == 8

    cell = ["ways=2", "eval.transductive=false", "data=folder:there", "eval.tasks=4"]
    alone = fewshot("evaluate", "run", *cell, *OTHER)
    assert alone.returncode == 0, alone.stderr
    (other,) = {path.name for path in (run / "evaluations").iterdir()} - {
        *cells.evaluation,
        table.name,
    }
    summary = json.loads((run / "evaluations" / other / "summary.json").read_text())
    last = summary["test"]["steps"][-1]
    for name in ("accuracy", "accuracy_ci95", "loss"):
        assert float(cells[name][3]) == pytest.approx(last[name], rel=1e-6)

    # As if the grid had been killed: a cell is missing, and another has not come to its end.
    shutil.rmtree(run / "evaluations" / cells.evaluation[0])
    (run / "evaluations" / cells.evaluation[6] / "status.json").write_text('{"status": "running"}')
    table.unlink()
    again = fewshot("evaluate", "run", "-m", *words)
    assert again.returncode == 0, again.stderr
    after = pd.read_csv(table, keep_default_na=False)
    figures = ["accuracy", "loss_ci95", "adaptation_steps"]
    assert after[figures].equals(cells[figures])
    fresh = [*(after.evaluation[~after.evaluation.isin([*cells.evaluation, other])].index)]
    assert fresh == [0, 6]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ways=2,3", "seed=1,2"], "seed: cannot be changed afterwards"),
        (["ways=2,1"], "ways=1: expected 2 or more"),
        (["data=glyphs,nope"], "data=nope: expected"),
        (["data=glyphs:here"], "data=glyphs:here: data=glyphs has no root; expected data=glyphs"),
        (["ways=range(2,4)"], "ways=range(2,4): expected values with commas between them"),
        (["data=glyphs,omniglot:o", "data.min_images=3"], "data.min_images: data=glyphs,omniglot"),
        (["eval.score_steps=[1],[9]"], "eval.score_steps=[9]: expected all, or a list"),
    ],
)
def test_a_wrong_cell_is_refused_before_any_is_tested(
    run: Path, words: list[str], message: str
) -> None:
    with pytest.raises(UserError) as error:
        compose.changed_configs(run / "config.yaml", words, may_change("evaluate"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_cell_that_the_data_cannot_give_is_refused_before_any_is_tested(
    fewshot: Command, run: Path
) -> None:
    little_folder(run.parent / "there")
    done = fewshot("evaluate", "run", "-m", "ways=2,12", "data=glyphs,folder:there", *OTHER)
    assert (done.returncode, done.stdout) == (2, "")
    assert "ways=12: data=folder has 9 classes" in done.stderr.splitlines()[-1]
    assert not (run / "evaluations").exists()
    done = fewshot("evaluate", "run", "ways=2,3")
    more = "`fewshot evaluate -m` takes more"
    assert done.stderr == f"fewshot: ways=2,3: expected one value; {more}\n"
