"""The real command, as a user types it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import Command
from helpers import TINY, choosing, little_omniglot, metrics, names, picture

FAST = ["model=mlp", *TINY]


def runs(folder: Path) -> list[Path]:
    return sorted(folder.glob("outputs/runs/*"))


def test_a_run_shows_its_figures_and_where_its_files_are(fewshot: Command, tmp_path: Path) -> None:
    done = fewshot("train", "algo=reptile", *FAST)
    assert done.returncode == 0, done.stderr
    (run,) = runs(tmp_path)
    assert "reptile on glyphs, mlp, 3-way 1-shot: meta-test" in done.stdout
    assert "best checkpoint (iteration " in done.stdout
    assert "6 tasks, ± 95 % interval" in done.stdout
    assert f"Files: {run.relative_to(tmp_path)}\n" in done.stdout
    assert f"fewshot evaluate {run.relative_to(tmp_path)}" in done.stdout
    assert (run / ".hydra" / "overrides.yaml").is_file()
    assert json.loads((run / "status.json").read_text()) == {"status": "completed", "error": None}


def test_no_third_party_banner_or_warning(fewshot: Command) -> None:
    done = fewshot("train", *FAST, new=True)
    ours = ("Meta-training: ", "Meta-validation: ", "Meta-test: ", "Rendering the letters")
    assert all(line.startswith(ours) for line in done.stderr.splitlines()), done.stderr


def test_resnet12_on_augmented_photographs(fewshot: Command, tmp_path: Path) -> None:
    augment = [f"data.augment.{each}" for each in ("flip=true", "crop=2", "colour=0.3")]
    done = fewshot(
        *("train", "model=resnet12", "model.channels=4", *augment),
        *(*choosing("folder", tmp_path), *TINY, "run.dir=run"),
    )
    assert done.returncode == 0, done.stderr
    ours = ("Meta-training: ", "Meta-validation: ", "Meta-test: ", "Decoding the images")
    assert all(line.startswith(ours) for line in done.stderr.splitlines()), done.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["model"] == "resnet12"


THEORY = "maml", "fomaml", "reptile", "finetune"


@pytest.mark.parametrize(
    "algo", [pytest.param(a, marks=[] if a in THEORY else pytest.mark.slow) for a in names("algo")]
)
def test_the_smoke_experiment(fewshot: Command, tmp_path: Path, algo: str) -> None:
    done = fewshot("train", f"algo={algo}", "experiment=smoke")
    assert done.returncode == 0, done.stderr
    (run,) = runs(tmp_path)
    assert json.loads((run / "summary.json").read_text())["algo"] == algo


def test_the_same_command_twice_gives_the_same_bytes(fewshot: Command, tmp_path: Path) -> None:
    for _ in range(2):
        assert fewshot("train", "algo=maml", *TINY, "model.channels=8").returncode == 0
    one, two = runs(tmp_path)
    assert metrics(one) == metrics(two)
    assert (one / "test_tasks.csv").read_bytes() == (two / "test_tasks.csv").read_bytes()


def test_cfg_prints_the_config_and_runs_nothing(fewshot: Command, tmp_path: Path) -> None:
    done = fewshot("train", "algo=reptile", "--cfg", "job", "seed=9")
    assert (done.returncode, done.stderr) == (0, "")
    shown = yaml.safe_load(done.stdout)
    assert (shown["algo"]["name"], shown["seed"]) == ("reptile", 9)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_leaves_nothing(fewshot: Command, tmp_path: Path) -> None:
    done = fewshot("train", "--dry-run", *FAST)
    assert done.returncode == 0, done.stderr
    assert "maml on glyphs with mlp" in done.stdout
    assert "one meta-update of 3 tasks works" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_groups_of_the_user_s_own(fewshot: Command, tmp_path: Path) -> None:
    folder = tmp_path / "my groups" / "experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("# @package _global_\n# Mine\nseed: 77\n")
    words = ["experiment=mine", *FAST, "--config-dir", "my groups"]
    assert fewshot("train", *words).returncode == 0
    (run,) = runs(tmp_path)
    assert json.loads((run / "summary.json").read_text())["seed"] == 77


def test_a_run_never_goes_where_something_is(fewshot: Command, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "precious").write_text("x")
    done = fewshot("train", *FAST, "hydra.run.dir=here")
    assert done.returncode == 2
    assert done.stderr == "fewshot: here: already holds something; expected a new or empty folder\n"
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["precious"]


def test_an_interrupted_run_says_so(fewshot: Command, tmp_path: Path, cache_dir: Path) -> None:
    fewshot("train", "--dry-run", *FAST)  # the letters are rendered after this
    command = [sys.executable, "-m", "fewshot_cli", "train", "data=sinusoid", "model=mlp"]
    process = subprocess.Popen(
        [*command, "iterations=1000000"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts background jobs with this signal ignored; so may these tests be.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("outputs/runs/*/checkpoints/last.pt")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    (run,) = runs(tmp_path)
    assert json.loads((run / "status.json").read_text())["status"] == "interrupted"
    assert len(pd.read_csv(run / "metrics.csv")) > 1
    assert "Traceback" not in error
    where = run.relative_to(tmp_path)
    assert error.splitlines()[-2:] == [
        f"fewshot: interrupted; what was written is in {where}",
        f"Next:  fewshot resume {where}",
    ]


def broken_zip(folder: Path) -> list[str]:
    little_omniglot(folder / "o")
    (folder / "o" / "images_evaluation.zip").write_bytes(b"PK no zip")
    return ["data=omniglot", "data.root=o"]


def broken_png(folder: Path) -> list[str]:
    little_omniglot(folder / "o")
    with zipfile.ZipFile(folder / "o" / "images_evaluation.zip", "a") as archive:
        archive.writestr("images_evaluation/e1/character01/0099.png", picture(1)[:50])
    return ["data=omniglot", "data.root=o"]


def no_permission(folder: Path) -> list[str]:
    """A loop of links: unlike a mode, it keeps root out too."""
    (folder / "o").symlink_to(folder / "o")
    return ["data=omniglot", "data.root=o"]


def file_as_root(folder: Path) -> list[str]:
    (folder / "o").write_text("")
    return ["data=omniglot", "data.root=o"]


def outputs_is_a_file(folder: Path) -> list[str]:
    (folder / "outputs").write_text("")
    return FAST


def broken_group(folder: Path) -> list[str]:
    (folder / "mine" / "algo").mkdir(parents=True)
    (folder / "mine" / "algo" / "bad.yaml").write_text("name: [")
    return ["--config-dir", "mine", "algo=bad"]


WRONG = {
    "group": (["algoo=maml"], "algoo: no such key; expected algo"),
    "choice": (["algo=reptle"], "algo=reptle: expected reptile"),
    "key": (["algo.inner_ratee=1"], "algo.inner_ratee: no such key; expected algo.inner_"),
    "type": (["seed=one"], "seed: Value 'one' of type 'str' could not be converted to Integer"),
    "enum": (["algo.meta_optimizer=sdg"], "expected one of [sgd, adam]"),
    "rate": (["algo.inner_lr=-0.1"], "algo.inner_lr=-0.1: expected a finite number above 0"),
    "ways": (["ways=5000"], "ways=5000: data=glyphs has "),
    "shots": (["shots=19"], "shots=19 and eval.queries=15: data=glyphs has 20 images of a class"),
    "regression": (["data=sinusoid"], "model=cnn4: takes images, and data=sinusoid has none"),
    "small": (["model=resnet12", "data.image_size=14"], "data.image_size=14: model=resnet12 needs"),
    "unread": (["data.root=x"], "data.root: data=glyphs does not read it"),
    "syntax": (["lr"], "lr: expected KEY=VALUE or GROUP=CHOICE"),
    "sweep without -m": (["seed=1,2"], "seed=1,2: several values need -m"),
    "device": (["device=cuda:99"], "device=cuda:99: this machine has "),
    "config dir": (["--config-dir", "nowhere"], "--config-dir nowhere: expected a folder"),
    "flag": (["--multi"], "No such option: --multi"),
    "cfg": (["--cfg", "jobs"], "--cfg jobs: expected job"),
    "cfg of a sweep": (["-m", "--cfg", "job", "seed=1,2"], "--cfg: shows the config of one run"),
    "missing root": (["data=omniglot", "data.root=none"], "none: expected images_back"),
    "cache": (
        ["cache_dir=/dev/null/x"],
        "cache_dir=/dev/null/x: Not a directory; expected a folder that can be written",
    ),
    "wrong job": (["-m", "seed=1,x"], "seed: Value 'x' of type 'str'"),
    "kind": (["algo.kind=os"], "algo.kind: tells what the algo is; expected another choice"),
    "zip": (broken_zip, "o/images_evaluation.zip: expected a whole zip archive"),
    "png": (broken_png, "character01/0099.png: expected a PNG image"),
    "permission": (no_permission, "o: cannot read "),
    "file as root": (file_as_root, "o: expected images_background.zip"),
    "root of a job": (["-m", "data=omniglot", "data.root=a,b"], "a: expected images_background"),
    "device of a job": (["-m", "device=cpu,cuda:99"], "device=cuda:99: this machine has "),
    "subdir": (["-m", "seed=1,2", "hydra.sweep.subdir=x"], "of Hydra's own settings, expected"),
    "samples": (["data.samples=null"], "data.samples=null: data=glyphs needs a value"),
    "no images": (["data=sinusoid", "model.images_only=false"], "model.images_only: tells what"),
    "outputs": (outputs_is_a_file, "expected a folder that can be made"),
    "yaml": (broken_group, "bad.yaml"),
}


# Those of a sweep start a process of their own: one is enough in a hurry.
SWEEPS = ["root of a job", "device of a job"]


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] * (case in SWEEPS)) for case in WRONG]
)
def test_a_wrong_input_is_one_line_and_leaves_nothing(
    fewshot: Command, tmp_path: Path, case: str
) -> None:
    made, message = WRONG[case]
    words = made(tmp_path) if callable(made) else made
    before = sorted(tmp_path.rglob("*"))
    done = fewshot("train", *words)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Decoding")]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("fewshot: ")
    assert message in lines[0]
    assert done.stdout == ""
    left = [path for path in sorted(tmp_path.rglob("*")) if path not in before]
    assert left == []


def test_compile_without_a_compiler_leaves_nothing(fewshot: Command, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "CXX"}
    environment |= {"PATH": str(tmp_path)}
    done = fewshot("train", "data=sinusoid", "model=mlp", "compile=true", env=environment)
    assert done.returncode == 2, done.stderr
    expected = "fewshot: compile=true: found no C++ compiler; expected g++ or clang++\n"
    assert done.stderr == expected
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler"
)
def test_compile_says_what_it_took(fewshot: Command) -> None:
    small = "iterations=3", "eval.tasks=3", "eval.valid_tasks=3"
    done = fewshot("train", "data=sinusoid", "model=mlp", "compile=true", *small)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("Meta-")]
    assert len(said) == 1, done.stderr
    assert re.match(r"Compiled in .* s: a meta-update takes .* ms instead of .* ms", said[0])


LABELS = [
    *("--tag", "base, line", "--tag", 'it\'s "x"'),
    *("--notes", "a, b\\\n{c: [1]}", "--group", "G"),
]


def test_labels_are_free_text_and_no_part_of_a_run(fewshot: Command, tmp_path: Path) -> None:
    words = [*TINY, "model=mlp", "run.dir=run"]
    assert fewshot("train", *words, *LABELS).returncode == 0
    tags, notes, group = [LABELS[1], LABELS[3]], LABELS[5], LABELS[7]
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    for told in (saved, summary):
        assert (told["tags"], told["notes"], told["group"]) == (tags, notes, group)
    for tag in tags:
        done = fewshot("compare", "run", "--where", f"tag={tag}", "--json", "-")
        assert len(json.loads(done.stdout)["rows"]) == 1, done.stderr
    assert "no run has that" in fewshot("compare", "run", "--where", "tag=other").stderr
    again = fewshot("resume", "run", "iterations=6")
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["tags"] == tags


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("--notes", "see ${HOME}", "--notes see ${HOME}: expected text, without the ${"),
        ("--tag", " ", "--tag  : expected text"),
        ("--tag", "x" * 65, "--tag: expected at most 64 letters"),
    ],
)
def test_a_label_that_cannot_be_kept_is_one_line(
    fewshot: Command, tmp_path: Path, option: str, text: str, message: str
) -> None:
    done = fewshot("train", "run.dir=run", option, text)
    assert done.returncode == 2
    assert " ".join(done.stderr.split()).startswith("fewshot: " + " ".join(message.split()))
    assert not (tmp_path / "run").exists()
