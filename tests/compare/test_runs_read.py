"""Tests of fewshot_cli/compare/runs_read.py: any bytes in a run's files, and one answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
from fake_runs import fake
from filelock import FileLock
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fewshot_cli.compare.comparison import compare
from fewshot_cli.compare.runs_read import DamagedError, by_task, curve, find, read
from fewshot_cli.settings.errors import UserError

FILES = ["metrics.csv", "summary.json", "status.json", "config.yaml", "test_tasks.csv"]


def test_a_run_is_read_with_its_settings_by_dotted_key(tmp_path: Path) -> None:
    run = read(fake(tmp_path / "a", {"seed": 4}, 0.8, steps=2))
    assert (run.status, run.error, run.measure.name, run.tasks) == (
        "completed",
        None,
        "accuracy",
        8,
    )
    assert run.settings["algo.inner_lr"] == 0.4
    assert run.settings["data.classes.train"] == 1632
    assert run.settings["model.hidden"] == "64,64"
    assert run.settings["cache_dir"] is None
    assert list(run.by_step) == [0, 1, 2]
    for step, mean in run.by_step.items():
        assert by_task(run, step).mean() == pytest.approx(mean)
    iterations, values, _ = curve(run)
    assert (list(iterations), list(values)) == ([10, 20], [0.8, 0.8])


def test_runs_are_found_at_any_depth_once_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("sweep/10", "sweep/2", "other/deep/run"):
        fake(tmp_path / name)
    # An evaluation inside a run is none itself.
    fake(tmp_path / "sweep/2/evaluations/x")
    found = [path.relative_to(tmp_path) for path in find([tmp_path])]
    assert found == [Path("other/deep/run"), Path("sweep/2"), Path("sweep/10")]
    assert len(find([tmp_path, tmp_path / "sweep", tmp_path / "sweep/2"])) == 3


@pytest.mark.parametrize("name", ["gone", "empty", "file"])
def test_a_folder_without_runs_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"{name}: (expected a folder|no run in it)"):
        find([tmp_path / name])


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_a_run_without_an_end_keeps_its_status_and_why(tmp_path: Path, status: str) -> None:
    path = fake(tmp_path / "a", status=status, error="the loss is nan")
    with FileLock(path / ".lock"):
        run = read(path)
    assert (run.status, run.error, run.by_step) == (status, "the loss is nan", {})


def test_a_run_that_says_it_runs_and_does_not_is_interrupted(tmp_path: Path) -> None:
    run = read(fake(tmp_path / "a", status="running"))
    assert (run.status, run.error) == ("interrupted", "its process was killed")
    assert not (tmp_path / "a" / ".lock").exists()


@pytest.mark.parametrize("name", ["summary.json", "status.json", "config.yaml"])
@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"[]",
        b"{",
        b"\xff\xfe",
        b"a: !!python/object/apply:os.system [exit]",
        b"a: 2001-01-01",
        b"? {a: b}\n: c",
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = fake(tmp_path / "a") / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    run = read(path.parent)
    assert (run.status, run.error) == ("damaged", f"{name} is missing or damaged")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("0,1,1.0", "5,1,1.0"),
        lambda text: text.replace("0,1,1.0,0.", "0,1,1.0,7."),
        lambda text: text.replace("0,1,1.0,", "0,1,1.0,nan"),
        lambda text: text.replace("0,1,1.0,", "0,1,1.0,[red]"),
    ],
)
def test_task_figures_that_are_cut_or_changed_are_refused(tmp_path: Path, damage: object) -> None:
    path = fake(tmp_path / "a") / "test_tasks.csv"
    text = path.read_text()
    path.write_text(damage(text))  # type: ignore[operator]
    assert path.read_text() != text
    with pytest.raises(DamagedError, match=r"test_tasks\.csv"):
        by_task(read(path.parent), 1)


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    path = fake(tmp_path / "a")
    (path / "summary.json").unlink()
    os.mkfifo(path / "summary.json")
    assert read(path).error == "summary.json is missing or damaged"


HOSTILE = {
    # Ten aliases of ten aliases ...: 10^9 leaves from 500 characters.
    "billion laughs": "a0: &a0 {x: 1}\n"
    + "".join(
        f"a{n}: &a{n} {{{', '.join(f'k{k}: *a{n - 1}' for k in range(10))}}}\n"
        for n in range(1, 10)
    ),
    "billion laughs in one block": "a:\n  b0: &b0 [1,1,1,1,1,1,1,1,1]\n"
    + "".join(f"  b{n}: &b{n} [{','.join([f'*b{n - 1}'] * 9)}]\n" for n in range(1, 10)),
    "many leaves of one block": "a:\n  b0: &b0 {x: 1}\n"
    + "".join(
        f"  b{n}: &b{n} {{{', '.join(f'k{k}: *b{n - 1}' for k in range(10))}}}\n"
        for n in range(1, 10)
    ),
    "a block in itself": "a: &a\n  b: *a\n",
    "deep lists": "a: " + "[" * 100_000,
    "deep lists, closed": "a: " + "[" * 3_000 + "]" * 3_000,
    "deep maps": "a: " + "{b: " * 1_900,
    "deep dashes": "a:\n  " + "- " * 3_000,
    "a long number": "a: " + "9" * 7_900,
    "a long number of base 60": "a: " + "1:" * 3_000 + "1",
    "a number that no float holds": "seed: 0x" + "f" * 7_000,
    "a large file": "a: b\n" * 1_000_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_config_made_to_do_harm_neither_hangs_nor_ends_the_process(
    tmp_path: Path, name: str
) -> None:
    path = fake(tmp_path / "a")
    (path / "config.yaml").write_text(HOSTILE[name])
    script = """
import resource, sys
from pathlib import Path
from fewshot_cli.compare import comparison, tables
from fewshot_cli.compare.runs_read import read
from fewshot_cli.compare.settings import has
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
run = read(Path(sys.argv[1]))
has(run.settings, dict.fromkeys(run.settings, "1"))
found = comparison.compare([run])
tables.markdown(tables.words(found, found.table(list(run.settings)), None))
print(run.status)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout in ("damaged\n", "completed\n")


# Whole words of the formats beside any bytes, so that some get past the parsers.
WORDS = st.sampled_from(
    [
        *(
            b"{",
            b"}",
            b"[",
            b"]",
            b":",
            b",",
            b'"',
            b"\n",
            b"- ",
            b"&a ",
            b"*a",
            b"<<: ",
            b"|",
            b"!!",
        ),
        *(b"nan", b"1e999", b"-1", b"null", b"true", b"9" * 30, b"\x00", b"\xef\xbb\xbf", b"  "),
        *(b'"test"', b'"steps"', b'"tasks"', b'"status"', b'"completed"', b"accuracy", b"seed: "),
    ]
)
CONTENT = st.lists(WORDS | st.binary(max_size=8), max_size=12).map(b"".join)


@pytest.mark.slow
@given(
    name=st.sampled_from(FILES), content=CONTENT, start=st.floats(0, 1), length=st.integers(0, 200)
)
@example(name="config.yaml", content=b"\x00", start=0, length=0)
@example(name="config.yaml", content=b"? [a]\n: b\n", start=0, length=0)
@example(name="summary.json", content=b"9" * 5000, start=0.3, length=1)
@example(name="summary.json", content=b"1e999", start=0.3, length=1)
@settings(
    max_examples=400,
    derandomize=True,
    deadline=5000,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_a_file_holds_the_run_is_read_or_named_damaged(
    tmp_path: Path, name: str, content: bytes, start: float, length: int
) -> None:
    here = tmp_path / "a"
    if not here.exists():
        fake(here)
        fake(tmp_path / "b", {"seed": 2})
    path = here / name
    whole = path.read_bytes()
    at = int(start * len(whole))
    path.write_bytes(whole[:at] + content + whole[at + length :])
    try:
        runs = [read(path) for path in find([tmp_path])]
        comparison = compare(runs)
    except UserError:
        return
    finally:
        path.write_bytes(whole)
    counted = [run for setting in comparison.settings for run in setting.runs]
    assert len(counted) + len(comparison.left) == len(runs) == 2
    for run in counted:
        with nullcontext() if name != "metrics.csv" else suppress(DamagedError):
            assert curve(run)[0].shape == curve(run)[1].shape
    comparison.table()


@pytest.mark.parametrize("name", ["summary.json", "status.json"])
@given(
    content=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["test", "steps", "tasks", "seconds", "status", "accuracy"])
                | st.just("adaptation_steps"),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
@settings(
    max_examples=100,
    derandomize=True,
    deadline=5000,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_json_it_is_too(tmp_path: Path, name: str, content: object) -> None:
    here = tmp_path / "a"
    if not here.exists():
        fake(here)
    whole = (here / name).read_bytes()
    (here / name).write_text(json.dumps(content))
    try:
        compare([read(here)]).table()
    finally:
        (here / name).write_bytes(whole)
