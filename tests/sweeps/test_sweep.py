"""`fewshot train -m`, as a user types it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Command
from helpers import LITTLE, TINY, little_omniglot, metrics

from fewshot_cli.settings.errors import UserError
from fewshot_cli.sweeps import sweep as module

SMOKE = ["experiment=smoke", "model=mlp", "threads=1"]
SINE = ["data=sinusoid", "model=mlp", *TINY, "ways=1"]


def jobs(sweep: Path) -> dict[str, Path]:
    """The folders of a sweep's jobs by name, without the digest."""
    return {path.parent.name[:-9]: path.parent for path in sweep.glob("*/.hydra")}


def status(job: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((job / "status.json").read_text())
    return found


@pytest.mark.parametrize("flags_first", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_sweep_leaves_a_complete_directory_a_job(
    fewshot: Command, tmp_path: Path, flags_first: bool
) -> None:
    overrides = ["algo=maml,fomaml,reptile", *SMOKE]
    words = ["-m", *overrides] if flags_first else [*overrides, "--multirun"]
    done = fewshot("train", *words)
    assert done.returncode == 0, done.stderr
    (sweep,) = tmp_path.glob("outputs/sweeps/*")
    assert sorted(jobs(sweep)) == ["algo=fomaml", "algo=maml", "algo=reptile"]
    for name, job in jobs(sweep).items():
        summary = json.loads((job / "summary.json").read_text())
        assert (f"algo={summary['algo']}", summary["group"]) == (name, sweep.name)
        assert (job / "checkpoints" / "best.pt").is_file()
        assert len(pd.read_csv(job / "metrics.csv")) > 5
        assert len(pd.read_csv(job / "test_tasks.csv")) > 20
    assert f"3 of 3 jobs completed: {sweep.relative_to(tmp_path)}" in done.stdout
    assert "[3/3] algo=" in done.stderr
    assert f"Next:  fewshot compare {sweep.relative_to(tmp_path)}" in done.stdout


@pytest.mark.slow
def test_given_again_only_what_is_missing_runs(fewshot: Command, tmp_path: Path) -> None:
    words = ["train", "-m", *SMOKE, "sweep.dir=s"]
    assert fewshot(*words, "seed=1,2", "algo=maml").returncode == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("*.csv")}
    listed = fewshot(*words, "algo=maml,anil", "seed=2,1", "--dry-run")
    assert "2 of 4 jobs would run" in listed.stdout
    assert [line[:9] for line in listed.stdout.splitlines()[:2]] == ["algo=anil"] * 2
    done = fewshot(*words, "algo=maml,anil", "seed=2,1")
    assert done.returncode == 0, done.stderr
    assert "2 jobs are complete already" in done.stderr
    assert "4 of 4 jobs completed" in done.stdout
    assert len(jobs(tmp_path / "s")) == 4
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {p for p in before if p.name != "comparison.csv" and before[p] != after[p]} == set()


def test_what_makes_no_run_of_its_own_is_said(fewshot: Command) -> None:
    listed = fewshot("train", "-m", *SMOKE, "seed=1,2", "threads=1,2", "log_every=1,3", "--dry-run")
    assert "2 of 2 jobs would run" in listed.stdout
    assert listed.stderr.startswith("8 combinations ask for 2 runs: ")


def test_a_launcher_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_installed", lambda plugin: False)
    with pytest.raises(UserError, match=r"is not installed; expected pip install 'fewshot\[ray\]'"):
        module._presets(["hydra/launcher=ray"])


@pytest.mark.parametrize(
    ("chosen", "earlier", "now"),
    [
        ("launcher=ray", "+hydra.launcher.ray.init.address=HOST:6379", "hydra.launcher.address or"),
        ("launcher=ray", "++hydra.launcher.ray.remote.num_cpus=2", "hydra.launcher.num_cpus or"),
        ("sweeper=optuna", "hydra.sweeper.sampler.seed=3", "seed"),
        ("sweeper=optuna", "hydra/sweeper/sampler=random", "sampler"),
        (
            *("sweeper=optuna", "hydra.sweeper.direction=maximize"),
            "max_batch_size, n_jobs, n_trials, pruner, sampler,",
        ),
    ],
)
def test_keys_of_hydras_own_plugins_name_those_of_now(
    fewshot: Command, chosen: str, earlier: str, now: str
) -> None:
    done = fewshot("train", "-m", *SMOKE, f"hydra/{chosen}", earlier)
    assert done.returncode == 2
    key = earlier.strip("+").partition("=")[0]
    of = "of hydra.sweeper, " if chosen.startswith("sweeper") else ""
    assert done.stderr.startswith(f"fewshot: {key}: no such key; {of}expected {now}")
    assert done.stderr.count("\n") == 1


RAY = pytest.mark.skipif(
    find_spec("ray") is None, reason="the extra ray is not installed: `make extras` does it"
)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", pytest.param("ray", marks=RAY)])
def test_every_launcher_gives_the_same_bytes(
    fewshot: Command, tmp_path: Path, launcher: str
) -> None:
    for name in ("basic", launcher):
        words = ["-m", *SMOKE, "algo=maml,reptile", f"sweep.dir={name}"]
        done = fewshot("train", *words, f"hydra/launcher={name}")
        assert done.returncode == 0, done.stderr
    one, two = jobs(tmp_path / "basic"), jobs(tmp_path / launcher)
    assert {name: metrics(job) for name, job in one.items()} == {
        name: metrics(job) for name, job in two.items()
    }


@RAY
@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "line"),
    [
        (
            "hydra.launcher.address=HERE:PORT",
            r"no Ray answers there \(Connection refused\); expected",
        ),
        ("hydra.launcher.address=HERE", "expected HOST:PORT of the head of a cluster"),
        ("hydra.launcher.num_gpus=1000", "no host of the cluster has that; the most on one: num_"),
        ("hydra.launcher.num_cpus=two", "expected a number from 0"),
    ],
)
def test_a_ray_that_cannot_be_had_is_one_line(
    fewshot: Command, tmp_path: Path, word: str, line: str
) -> None:
    with socket.socket() as bound:  # and not listened to
        bound.bind(("127.0.0.1", 0))
        word = word.replace("HERE", "127.0.0.1").replace("PORT", str(bound.getsockname()[1]))
        done = fewshot("train", "-m", *SINE, "seed=1,2", "sweep.dir=s", "hydra/launcher=ray", word)
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(rf"fewshot: .*{re.escape(word)}.*{line}.*\n", done.stderr), done.stderr
    assert done.stdout == ""
    assert not jobs(tmp_path / "s")


@pytest.mark.slow
def test_optuna_searches_and_goes_on(fewshot: Command, tmp_path: Path) -> None:
    words = ["train", "-m", *SMOKE, "hydra/sweeper=optuna", "sweep.dir=s"]
    words += ["algo.inner_lr=tag(log,interval(0.01,1))", "hydra.sweeper.n_trials=2"]
    for _ in range(2):
        done = fewshot(*words)
        assert done.returncode == 0, done.stderr
    assert "4 of 4 jobs completed" in done.stdout
    rates = set()
    for job in (tmp_path / "s").glob("*/config.yaml"):
        rates.add(job.read_text().partition("inner_lr: ")[2].split()[0])
    assert len(rates) == 4
    assert all(0.01 <= float(rate) <= 1 for rate in rates)


@pytest.mark.slow
def test_a_failed_job_costs_only_itself(fewshot: Command, tmp_path: Path) -> None:
    rates = ["algo.inner_lr=0.01,1e30,0.02", "algo.inner_steps=3"]
    done = fewshot("train", "-m", *SINE, *rates, "sweep.dir=s")
    assert done.returncode == 1
    found = jobs(tmp_path / "s")
    states = [status(found[f"algo.inner_lr={rate}"]) for rate in ("0.01", "1e+30", "0.02")]
    assert [state["status"] for state in states] == ["completed", "failed", "completed"]
    assert "inner_lr" in states[1]["error"]
    assert "2 of 3 jobs completed" in done.stdout
    assert done.stderr.count("failed: ") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_killed_worker_warns_of_nothing_and_each_line_says_whose_it_is(
    tmp_path: Path, cache_dir: Path
) -> None:
    sweep = subprocess.Popen(
        [
            *(sys.executable, "-m", "fewshot_cli", "train", "-m", *SINE, "seed=1,2", "sweep.dir=s"),
            *("iterations=2000", "threads=1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
        ],
        cwd=tmp_path,
        env=os.environ | {"FEWSHOT_CACHE": str(cache_dir), "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    workers: list[int] = []
    try:
        while not list(tmp_path.glob("s/*/checkpoints/last.pt")) and sweep.poll() is None:
            time.sleep(0.05)
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                ours = os.readlink(process / "cwd") == str(tmp_path)
                if ours and b"popen_loky" in (process / "cmdline").read_bytes():
                    workers.append(int(process.name))
        os.kill(workers[0], signal.SIGKILL)
        out, err = sweep.communicate(timeout=200)
    finally:
        sweep.kill()
    assert (sweep.returncode, len(workers)) == (0, 2), err
    assert "2 of 2 jobs completed" in out
    assert "TerminatedWorkerError" in err
    assert "Warning" not in err
    ends = [line for line in err.splitlines() if ": 2000/2000 iterations, " in line]
    assert {line.partition("Meta-training")[0] for line in ends} == {"[seed=1] ", "[seed=2] "}


@pytest.mark.slow
def test_nine_jobs_of_which_three_fail(tmp_path: Path, cache_dir: Path) -> None:
    """One diverges, one is killed whenever it runs, and the data of one go away."""
    roots = {name: tmp_path / ("gone" if name == "h" else "here") for name in "abcdefghi"}
    for root in set(roots.values()):
        little_omniglot(root)
    special = {"b": "algo: {inner_lr: 1.0e+30, inner_steps: 3}", "e": "iterations: 1000000"}
    (tmp_path / "my" / "experiment").mkdir(parents=True)
    for name, root in roots.items():
        lines = ["# @package _global_", f"data: {{root: '{root}'}}", f"seed: {ord(name)}"]
        lines.append(special.get(name, "iterations: 4"))
        (tmp_path / "my" / "experiment" / f"{name}.yaml").write_text("\n".join(lines))
    tiny = [word for word in TINY if not word.startswith("iterations")]
    sweep = subprocess.Popen(
        [
            *(sys.executable, "-m", "fewshot_cli", "train", "-m", "--config-dir", "my"),
            *("experiment=a,b,c,d,e,f,g,h,i", "data=omniglot", "model=mlp", *LITTLE, *tiny),
            "sweep.dir=s",
        ],
        cwd=tmp_path,
        env=os.environ | {"FEWSHOT_CACHE": str(cache_dir)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    children = Path(f"/proc/{sweep.pid}/task/{sweep.pid}/children")
    killed = set[int]()  # when each attempt at the long job began
    try:
        while len(killed) < 2 and sweep.poll() is None:  # once among the others, then by itself
            time.sleep(0.1)
            began = {
                name: (job / "status.json").stat().st_mtime_ns
                for name, job in jobs(tmp_path / "s").items()
                if (job / "status.json").exists()
            }
            if began and roots["h"].exists():
                shutil.rmtree(roots["h"])
            if began.get("experiment=e", 0) not in {0, *killed}:
                os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
                killed.add(began["experiment=e"])
        out, err = sweep.communicate(timeout=120)
    finally:
        sweep.kill()
    assert sweep.returncode == 1, err
    assert "6 of 9 jobs completed" in out
    failures = [line for line in err.splitlines() if " failed: " in line]
    assert len(failures) == 3
    assert "experiment=b" in failures[0]
    assert "inner_lr" in failures[0]
    assert failures[1].endswith("failed: its process was killed; the memory may have run out")
    assert f"data.root={roots['h']}: " in failures[2]
    assert "Traceback" not in err
    table = pd.read_csv(tmp_path / "s" / "comparison.csv")
    assert table.seeds[table.status == "completed"].sum() == 6
    assert (table.status == "failed").sum() == 3


@pytest.mark.slow
def test_a_job_that_is_killed_once_goes_on(tmp_path: Path, cache_dir: Path) -> None:
    """Also where it is the only one."""
    sweep = subprocess.Popen(
        [
            *(sys.executable, "-m", "fewshot_cli", "train", "-m", *SINE, "seed=1"),
            *("iterations=600", "threads=1", "sweep.dir=s"),
        ],
        cwd=tmp_path,
        env=os.environ | {"FEWSHOT_CACHE": str(cache_dir)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        while not list(tmp_path.glob("s/*/checkpoints/last.pt")) and sweep.poll() is None:
            time.sleep(0.05)
        children = Path(f"/proc/{sweep.pid}/task/{sweep.pid}/children").read_text()
        os.kill(int(children.split()[0]), signal.SIGKILL)
        out, err = sweep.communicate(timeout=200)
    finally:
        sweep.kill()
    assert (sweep.returncode, err.count("Meta-training: 600/600")) == (0, 1), err
    assert "1 of 1 jobs completed" in out
