"""Tests of `fewshot compare`, by the real command, without torch."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from pathlib import Path

import pytest
from conftest import Command
from fake_runs import fake, sweep


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A sweep, and before the real torch one that cannot be imported."""
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    return sweep(tmp_path / "s")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_table_in_the_terminal(fewshot: Command, runs: Path) -> None:
    done = fewshot("compare", "s")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    assert [row[:3] for row in cells] == [
        ["maml", "0.4", "3"],
        ["fomaml", "0.4", "3"],
        ["maml", "0.1", "3"],
        ["fomaml", "0.1", "3"],
    ]
    assert [row[8] for row in cells] == ["best", "worse", "worse", "worse"]
    assert "over seeds and tasks" in done.stdout


def test_csv_and_json_hold_the_same_figures_on_the_terminal_and_in_files(
    fewshot: Command, runs: Path, tmp_path: Path
) -> None:
    done = fewshot("compare", "s", "--csv", "-")
    assert (done.returncode, done.stderr) == (0, "")
    written = fewshot(
        *("compare", "s", "--csv", "a/x.csv", "--json", "x.json", "--markdown", "x.md")
    )
    assert written.returncode == 0
    assert written.stderr.splitlines() == [
        *("Written: a/x.csv", "Written: x.json", "Written: x.md"),
    ]
    assert "maml" in written.stdout
    assert (tmp_path / "a/x.csv").read_text() == done.stdout
    from_json = json.loads((tmp_path / "x.json").read_text())["rows"]
    from_csv = rows(done.stdout)
    assert [float(row["mean"]) for row in from_csv] == [row["mean"] for row in from_json]
    assert from_json[0]["difference"] is None
    assert from_json[0]["algo.inner_lr"] == 0.4
    on_terminal = fewshot("compare", "s", "--json", "-").stdout
    assert json.loads(on_terminal) == json.loads((tmp_path / "x.json").read_text())
    markdown = fewshot("compare", "s", "--markdown", "-").stdout
    assert markdown == (tmp_path / "x.md").read_text()
    assert markdown.startswith("| algo | inner_lr | seeds | accuracy |")


def test_where_takes_settings_as_a_user_writes_them(fewshot: Command, runs: Path) -> None:
    done = fewshot("compare", "s", "--where", "algo=maml", "--where", "inner_lr=0.40", "--csv", "-")
    (row,) = rows(done.stdout)
    assert (row["seeds"], row["verdict"]) == ("3", "best")
    one = rows(fewshot("compare", "s", "--where", "seed=2", "--csv", "-").stdout)
    assert [row["seeds"] for row in one] == ["1"] * 4


def test_columns_and_sort(fewshot: Command, runs: Path) -> None:
    done = fewshot(
        "compare", "s", "--columns", "mean,inner_lr,p", "--sort", "accuracy", "--csv", "-"
    )
    found = rows(done.stdout)
    assert list(found[0]) == ["mean", "algo.inner_lr", "p"]
    means = [float(row["mean"]) for row in found]
    assert means == sorted(means)
    twice = fewshot("compare", "s", "--columns", "algo,algo.name,accuracy,mean", "--csv", "-")
    assert (twice.stderr, list(rows(twice.stdout)[0])) == ("", ["algo.name", "mean"])
    # What is not shown can be sorted by; the last has no p.
    by_p = rows(fewshot("compare", "s", "--columns", "algo", "--sort", "p", "--csv", "-").stdout)
    assert by_p[-1] == {"algo.name": "maml"}


def test_steps_and_baseline(fewshot: Command, runs: Path) -> None:
    before = rows(fewshot("compare", "s", "--steps", "0", "--csv", "-").stdout)
    assert [row["steps"] for row in before] == ["0"] * 4
    assert float(before[0]["mean"]) == pytest.approx(0.7, abs=0.002)
    chosen = fewshot("compare", "s", "--baseline", "algo=fomaml,inner_lr=0.1", "--csv", "-")
    assert [row["verdict"] for row in rows(chosen.stdout)] == [*["better"] * 3, "baseline"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gone"], "gone: expected a folder of runs or sweeps"),
        (["empty"], "empty: no run in it; expected folders with a status.json"),
        (["s", "--where", "algo"], "--where algo: expected KEY=VALUE"),
        (["s", "--where", "alg=maml"], "--where alg: no setting of these runs; expected algo"),
        (["s", "--where", "algo=anil"], "--where algo=anil: no run has that"),
        (
            ["s", "--columns", "meen"],
            "--columns meen: no setting or column of these runs; ",
        ),
        (["s", "--columns", ""], "--columns : no setting or column of these runs; expected test, "),
        (
            ["s", "--sort", "iner_lr"],
            "--sort iner_lr: no setting or column of these runs; ",
        ),
        (
            ["s", "--sort", "nope"],
            "--sort nope: no setting or column of these runs; expected test, seeds, steps, tasks,",
        ),
        (["s", "--baseline", "alg=maml"], "--baseline alg: no setting of these runs; expected alg"),
        (["s", "--baseline", "algo=maml"], "--baseline: 2 settings have that; add one of"),
        (["s", "--baseline", "algo=anil"], "--baseline algo.name=anil: no setting has that"),
        (["s", "--baseline", ""], "--baseline : expected KEY=VALUE"),
        (["s", "--steps", "-1"], "Invalid value for '--steps'"),
        ([], "Missing argument 'DIR...'"),
    ],
)
def test_a_wrong_argument_is_one_line_and_leaves_nothing(
    fewshot: Command, runs: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    done = fewshot("compare", *arguments, "--csv", "x.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"fewshot: {said}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "x.csv").exists()


def test_where_no_config_can_be_read_there_is_nothing_to_choose(
    fewshot: Command, tmp_path: Path
) -> None:
    (fake(tmp_path / "s" / "a") / "config.yaml").write_text("[")
    done = fewshot("compare", "s", "--where", "algo=maml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("expected runs whose config.yaml can be read\n")


def test_steps_that_no_run_has_are_said_for_each_run(fewshot: Command, runs: Path) -> None:
    done = fewshot("compare", "s", "--steps", "9")
    assert done.returncode == 2
    assert done.stdout.count("has no results after 9 adaptation steps, at most 1") == 12


def test_where_nothing_is_completed_the_table_is_shown_and_the_status_is_2(
    fewshot: Command, tmp_path: Path
) -> None:
    fake(tmp_path / "s" / "a", status="running")
    fake(tmp_path / "s" / "b", status="failed", error="the loss is nan")
    done = fewshot("compare", "s", "--json", "all.json")
    assert done.returncode == 2
    assert "its process was killed" in done.stdout
    assert "the loss is nan" in done.stdout
    assert "Next:  fewshot resume RUN, for each that was interrupted." in done.stdout
    assert done.stderr.splitlines() == [
        "Written: all.json",
        "fewshot: s: no run there is completed and counted; expected one at least",
    ]
    assert len(json.loads((tmp_path / "all.json").read_text())["rows"]) == 2
    assert not (tmp_path / "s" / "a" / ".lock").exists()


def test_the_comparison_of_a_sweep_is_written_again(
    fewshot: Command, runs: Path, tmp_path: Path
) -> None:
    assert not (runs / "comparison.csv").exists()
    fewshot("compare", "s")
    assert not (runs / "comparison.csv").exists()  # only a sweep's own is kept up to date
    (runs / "comparison.csv").write_text("old")
    for others in (["--columns", "mean"], ["--where", "algo=maml"], ["--steps", "0"], ["s/0"]):
        fewshot("compare", "s", *others)
        assert (runs / "comparison.csv").read_text() == "old"
    done = fewshot("compare", "s")
    assert done.stderr == "Written: s/comparison.csv\n"
    assert (runs / "comparison.csv").read_text() == fewshot("compare", "s", "--csv", "-").stdout


def test_what_is_not_averaged_is_listed_below(fewshot: Command, runs: Path, tmp_path: Path) -> None:
    fake(runs / "20", {"seed": 9}, status="failed", error="[red]the loss is nan[/red]")
    (runs / "3" / "config.yaml").write_text("[")
    done = fewshot("compare", "s")
    assert done.returncode == 0
    below = done.stdout.split("Not averaged in")[1]
    assert "[red]the loss is nan[/red]" in below
    assert "config.yaml is missing or damaged" in below


@pytest.mark.parametrize("form", ["csv", "json", "markdown"])
def test_names_and_errors_that_are_no_text_can_be_written(
    fewshot: Command, tmp_path: Path, form: str
) -> None:
    fake(tmp_path / "s" / os.fsdecode(b"a\xff"))
    failed = fake(tmp_path / "s" / "b", status="failed")
    (failed / "status.json").write_text('{"status": "failed", "error": "half \\ud800"}')
    done = fewshot("compare", "s", f"--{form}", "out")
    assert (done.returncode, done.stderr) == (0, "Written: out\n")
    assert "half ?" in (tmp_path / "out").read_text(encoding="utf-8")
    assert fewshot("compare", "s", f"--{form}", "-").returncode == 0


def test_300_runs_take_a_moment(fewshot: Command, tmp_path: Path) -> None:
    sweep(tmp_path / "s", seeds=75)
    start = time.monotonic()
    done = fewshot("compare", "s", "--csv", "-")
    assert time.monotonic() - start < 10
    assert [row["seeds"] for row in rows(done.stdout)] == ["75"] * 4


def test_until_shows_how_fast_they_learned(fewshot: Command, runs: Path) -> None:
    for path in runs.glob("*/metrics.csv"):
        path.write_text(
            "iteration,split,accuracy,elapsed_s\n10,valid,0.4,1\n20,valid,0.6,2.5\n", "utf-8"
        )
    done = fewshot("compare", "s", "--until", "0.55", "--csv", "-")
    assert done.returncode == 0, done.stderr
    assert {
        (row["area"], row["reached"], row["until_iterations"], row["until_seconds"])
        for row in rows(done.stdout)
    } == {("0.5", "3", "20.0", "2.5")}
    done = fewshot("compare", "s", "--until", "0.7")
    assert "iterations to it" in done.stdout
    assert "a meta-validation as good as 70.00%" in " ".join(done.stdout.split())
    done = fewshot("compare", "s", "--until", "70")
    assert (done.returncode, done.stderr) == (
        2,
        "fewshot: --until 70.0: expected an accuracy from 0 to 1, such as 0.95\n",
    )


def test_markdown_marks_the_best_and_what_is_not_told_from_it(
    fewshot: Command, tmp_path: Path
) -> None:
    for seed in (1, 2, 3):
        for name, accuracy in {"0.1": 0.8, "0.2": 0.8001, "0.3": 0.6}.items():
            chosen = {"algo.inner_lr": float(name), "seed": seed}
            fake(tmp_path / "s" / f"{name}_{seed}", chosen, accuracy)
    done = fewshot("compare", "s", "--markdown", "-", "--columns", "inner_lr,accuracy,verdict")
    bold = {line.split("|")[1].strip(): "**" in line for line in done.stdout.splitlines()[2:5]}
    assert bold == {"0.1": True, "0.2": True, "0.3": False}
    assert "Bold: the best, and what cannot be told from it." in done.stdout
    done = fewshot("compare", "s", "--markdown", "-", "--baseline", "inner_lr=0.1")
    assert "**" not in done.stdout
