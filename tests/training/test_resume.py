"""A run that was stopped anywhere ends with the bytes of one that was not."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
from itertools import product
from pathlib import Path

import pytest
import torch
from helpers import TINY, UNTRAINED, choosing, config, few, names, of_all, outcome

from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config
from fewshot_cli.training import checkpoints, evaluation
from fewshot_cli.training import run as module
from fewshot_cli.training.memory import OutOfMemoryError, memory_explained
from fewshot_cli.training.run import RunDivergedError, run
from fewshot_cli.training.setup import Setup, prepare

LENGTH = ["iterations=7", "log_every=3", "eval.every=4"]


def small(cache_dir: Path, algo: str, *overrides: str) -> Config:
    classifies = algo == "protonet"
    data = ["data=glyphs", *TINY] if classifies else ["data=sinusoid", *TINY, "ways=1"]
    chosen = config("model=mlp", f"algo={algo}", *data, *LENGTH, *overrides)
    chosen.cache_dir = str(cache_dir)
    return chosen


def recorded(chosen: Config, path: Path) -> Path:
    directory = RunDirectory(path)
    with directory.recorded():
        run(chosen, directory)
    return path


@pytest.fixture
def stop_in(monkeypatch: pytest.MonkeyPatch) -> StopIn:
    return StopIn(monkeypatch)


class StopIn:
    """Sends this process a signal in the meta-update of an iteration."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch

    def __call__(self, iteration: int, number: int) -> None:
        plain, drawn = Setup.train_tasks, [0]

        def train_tasks(setup: Setup, generator: torch.Generator) -> object:
            drawn[0] += 1
            if drawn[0] == iteration:
                os.kill(os.getpid(), number)
            return plain(setup, generator)

        self.patch.setattr(Setup, "train_tasks", train_tasks)

    def in_validation(self, which: int, *numbers: int) -> None:
        """The signals come at the start of a meta-validation, counted from 1."""
        plain, begun = evaluation.generator, [0]

        def generator(seed: int, purpose: str) -> torch.Generator:
            begun[0] += purpose == "valid tasks"
            if begun[0] == which and purpose == "valid tasks":
                for number in numbers:
                    os.kill(os.getpid(), number)
            return plain(seed, purpose)

        self.patch.setattr(evaluation, "generator", generator)


VARIANTS = [
    *([algo] for algo in names("algo") if algo not in UNTRAINED),
    ["reptile", "algo.inner_optimizer=adam", "algo.carry_state=true"],
    ["maml", "algo.learn_rates=true", "algo.multi_step=5", "algo.meta_schedule=cosine"],
    ["maml", "checkpoint.every=2", "recompute=true", "algo.first_order_iterations=0"],
]


@pytest.mark.parametrize(*of_all(variant=VARIANTS, iteration=[1, 5]))
def test_a_stopped_run_ends_with_the_same_bytes(
    tmp_path: Path, cache_dir: Path, stop_in: StopIn, variant: list[str], iteration: int
) -> None:
    chosen = small(cache_dir, *variant)
    untouched = outcome(recorded(chosen, tmp_path / "untouched"))
    stop_in(iteration, signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        recorded(chosen, tmp_path / "stopped")
    stop_in.patch.undo()
    assert end.value.code == 143
    status = json.loads((tmp_path / "stopped" / "status.json").read_text())
    assert status["status"] == "interrupted"
    last = checkpoints.read(tmp_path / "stopped" / "checkpoints" / "last.pt")
    assert last["iteration"] == iteration
    assert outcome(recorded(chosen, tmp_path / "stopped")) == untouched


@pytest.mark.slow
@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler"
)
@pytest.mark.parametrize("algo", ["maml", "reptile"])
def test_a_stopped_run_that_is_compiled_ends_with_the_same_bytes(
    tmp_path: Path, cache_dir: Path, stop_in: StopIn, algo: str
) -> None:
    test_a_stopped_run_ends_with_the_same_bytes(
        tmp_path, cache_dir, stop_in, [algo, "compile=true"], 3
    )


# In which the algorithms differ is their state, and the test of all bytes has that of each.
@pytest.mark.parametrize(("variant", "which"), few(product(VARIANTS, [1, 2]), quick=3))
def test_a_run_stopped_in_a_meta_validation_makes_it_when_it_goes_on(
    tmp_path: Path, cache_dir: Path, stop_in: StopIn, variant: list[str], which: int
) -> None:
    """The second one is that of the last iteration."""
    chosen = small(cache_dir, *variant, "record_paths=true")
    untouched = outcome(recorded(chosen, tmp_path / "untouched"))
    stop_in.in_validation(which, signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        recorded(chosen, tmp_path / "stopped")
    stop_in.patch.undo()
    assert end.value.code == 143
    last = checkpoints.read(tmp_path / "stopped" / "checkpoints" / "last.pt")
    assert (last["iteration"], last["training"]["to_validate"]) == ((4, 7)[which - 1], True)
    metrics = (tmp_path / "stopped" / "metrics.csv").read_text()
    assert metrics.count(",valid,") == which - 1
    assert outcome(recorded(chosen, tmp_path / "stopped")) == untouched
    points = [{file.name for file in run.glob("paths/*")} for run in tmp_path.iterdir()]
    assert points == [{"0.pt", "4.pt", "7.pt"}] * 2


def test_a_stop_in_the_update_before_a_meta_validation_does_not_wait_for_it(
    tmp_path: Path, cache_dir: Path, stop_in: StopIn
) -> None:
    chosen = small(cache_dir, "maml")
    untouched = outcome(recorded(chosen, tmp_path / "untouched"))
    stop_in(4, signal.SIGTERM)
    with pytest.raises(SystemExit):
        recorded(chosen, tmp_path / "stopped")
    stop_in.patch.undo()
    assert ",valid," not in (tmp_path / "stopped" / "metrics.csv").read_text()
    assert outcome(recorded(chosen, tmp_path / "stopped")) == untouched


def test_a_meta_validation_is_stopped_again_and_again(
    tmp_path: Path, cache_dir: Path, stop_in: StopIn
) -> None:
    """By hand, at once by a second signal, which costs the update, and by one more."""
    chosen = small(cache_dir, "reptile")
    untouched = outcome(recorded(chosen, tmp_path / "untouched"))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ends: list[tuple[tuple[int, ...], int | None]] = [
        ((signal.SIGTERM, signal.SIGTERM), None),
        ((signal.SIGINT,), 4),
        ((signal.SIGINT, signal.SIGTERM), 4),
        ((signal.SIGTERM,), 4),
    ]
    last = tmp_path / "stopped" / "checkpoints" / "last.pt"
    for numbers, iteration in ends:
        stop_in.in_validation(1, *numbers)
        with pytest.raises((SystemExit, KeyboardInterrupt)):
            recorded(chosen, tmp_path / "stopped")
        stop_in.patch.undo()
        assert (checkpoints.read(last)["iteration"] if last.exists() else None) == iteration
    assert outcome(recorded(chosen, tmp_path / "stopped")) == untouched


def test_a_handler_that_returns_lets_the_meta_validation_be_made(
    tmp_path: Path, cache_dir: Path, stop_in: StopIn
) -> None:
    chosen = small(cache_dir, "maml")
    untouched = outcome(recorded(chosen, tmp_path / "untouched"))
    came = []
    earlier = signal.signal(signal.SIGUSR2, lambda number, frame: came.append(number))
    stop_in.in_validation(1, signal.SIGUSR2)
    try:
        recorded(chosen, tmp_path / "run")
    finally:
        signal.signal(signal.SIGUSR2, earlier)
    assert came == [signal.SIGUSR2]
    assert outcome(tmp_path / "run") == untouched


def test_a_checkpoint_that_says_nothing_of_meta_validation_comes_after_it(
    tmp_path: Path, cache_dir: Path, stop_in: StopIn
) -> None:
    """As those of commit 49bde7c."""
    chosen = small(cache_dir, "maml")
    untouched = outcome(recorded(chosen, tmp_path / "untouched"))
    stop_in(5, signal.SIGTERM)
    with pytest.raises(SystemExit):
        recorded(chosen, tmp_path / "stopped")
    stop_in.patch.undo()
    last = tmp_path / "stopped" / "checkpoints" / "last.pt"
    state = checkpoints.read(last)
    del state["training"]["to_validate"], state["format"]
    checkpoints.write(last, state)
    assert outcome(recorded(chosen, tmp_path / "stopped")) == untouched


def test_augmented_images_are_the_same_after_a_stop(
    tmp_path: Path, cache_dir: Path, stop_in: StopIn
) -> None:
    augment = ("flip=true", "crop=2", "colour=0.3", "warp=0.1")
    chosen = config(
        *("model=mlp", "algo=maml", *choosing("folder", tmp_path), *TINY, *LENGTH),
        *(f"data.augment.{each}" for each in augment),
    )
    chosen.cache_dir = str(cache_dir)
    untouched = outcome(recorded(chosen, tmp_path / "untouched"))
    stop_in(3, signal.SIGTERM)
    with pytest.raises(SystemExit):
        recorded(chosen, tmp_path / "stopped")
    stop_in.patch.undo()
    assert outcome(recorded(chosen, tmp_path / "stopped")) == untouched
    chosen.data.augment.colour = 0.0
    assert outcome(recorded(chosen, tmp_path / "plainer")) != untouched


def test_ctrl_c_finishes_the_update_first(
    tmp_path: Path, cache_dir: Path, stop_in: StopIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stop_in(3, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        recorded(small(cache_dir, "maml"), tmp_path / "run")
    assert checkpoints.read(tmp_path / "run" / "checkpoints" / "last.pt")["iteration"] == 3


def test_what_slurm_sends_comes_to_its_handler_after_a_checkpoint(
    tmp_path: Path, cache_dir: Path, stop_in: StopIn
) -> None:
    """submitit's handler submits the job again and ends the process with status -1."""
    seen = []

    def requeue(number: int, frame: object) -> None:
        seen.append(checkpoints.read(tmp_path / "run" / "checkpoints" / "last.pt")["iteration"])
        raise SystemExit(-1)

    earlier = signal.signal(signal.SIGUSR2, requeue)
    stop_in(3, signal.SIGUSR2)
    try:
        with pytest.raises(SystemExit):
            recorded(small(cache_dir, "maml"), tmp_path / "run")
    finally:
        signal.signal(signal.SIGUSR2, earlier)
    assert seen == [3]


def test_a_finished_run_is_extended(tmp_path: Path, cache_dir: Path) -> None:
    """With a constant rate, and where its end was a logged and validated iteration anyway."""
    plain = "algo.meta_schedule=constant"
    whole = outcome(recorded(small(cache_dir, "maml", plain, "iterations=24"), tmp_path / "whole"))
    recorded(small(cache_dir, "maml", plain, "iterations=12"), tmp_path / "parts")
    parts = recorded(small(cache_dir, "maml", plain, "iterations=24"), tmp_path / "parts")
    assert outcome(parts) == whole


def test_a_run_is_not_shortened_nor_mixed_with_another(tmp_path: Path, cache_dir: Path) -> None:
    path = recorded(small(cache_dir, "maml"), tmp_path / "run")
    before = outcome(path)
    with pytest.raises(UserError, match=r"iterations=3: .* has made 7; expected as many or more"):
        run(small(cache_dir, "maml", "iterations=3"), RunDirectory(path))
    with pytest.raises(UserError, match=r"last.pt: is of a run with other settings"):
        run(small(cache_dir, "maml", "seed=2"), RunDirectory(path))
    assert outcome(path) == before
    # The best one was kept to be tested: nobody can go on from it.
    shutil.copy(path / "checkpoints" / "best.pt", path / "checkpoints" / "last.pt")
    with pytest.raises(UserError, match=r"last.pt: is no state of training"):
        run(small(cache_dir, "maml"), RunDirectory(path))


@pytest.mark.parametrize("fault", ["cut", "gone", "no rows", "edited rows", "left aside"])
def test_damage_to_one_file_is_made_good(
    tmp_path: Path, cache_dir: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = small(cache_dir, "maml")
    directory = RunDirectory(recorded(chosen, tmp_path / "run"))
    before = outcome(directory.path)
    if fault == "cut":
        directory.last.write_bytes(directory.last.read_bytes()[:-9])
    elif fault == "gone":  # killed between the two renames
        directory.last.unlink()
    elif fault == "no rows":
        directory.metrics.unlink()
    elif fault == "edited rows":
        directory.metrics.write_text("opened;in;a;spreadsheet\n")
    else:
        (directory.checkpoints / ".last.pt.x.tmp").write_text("half")
    recorded(chosen, directory.path)
    assert outcome(directory.path) == before
    assert ("going on from" in capsys.readouterr().err) == (fault == "cut")
    assert not list(directory.path.rglob("*.tmp"))


def test_a_thousand_damages_of_a_checkpoint_are_each_named(tmp_path: Path, cache_dir: Path) -> None:
    chosen = small(cache_dir, "maml", "model.hidden=[4]")
    directory = RunDirectory(recorded(chosen, tmp_path / "run"))
    setup = prepare(chosen)
    whole, rng = directory.last.read_bytes(), random.Random(1)
    other = directory.best.read_bytes()
    path = tmp_path / "damaged.pt"
    for number in range(1000):
        data, place = bytearray(whole), rng.randrange(len(whole))
        kind = number % 5
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            del data[place : place + rng.randint(1, 64)]
        elif kind == 3:
            data[place:place] = rng.randbytes(rng.randint(1, 64))
        else:  # the beginning of another checkpoint
            data[: min(place + 1, len(other))] = other[: place + 1]
            if bytes(data) == whole:
                data[-1] ^= 1
        path.write_bytes(data)
        if bytes(data) in (whole, other):
            continue
        with pytest.raises(UserError, match=r"damaged.pt: ") as error:
            checkpoints.load(path, setup.algorithm)
        assert "\n" not in str(error.value)


def test_checkpoints_of_other_runs_are_refused(tmp_path: Path, cache_dir: Path) -> None:
    reptile = recorded(small(cache_dir, "reptile"), tmp_path / "reptile")
    directory = RunDirectory(recorded(small(cache_dir, "maml"), tmp_path / "maml"))
    shutil.copy(reptile / "checkpoints" / "last.pt", directory.last)
    with pytest.raises(UserError, match=r"last.pt: is of a run with other settings"):
        run(small(cache_dir, "maml"), directory)
    with pytest.raises(UserError, match=r"last.pt: is of another algorithm"):
        checkpoints.load(directory.last, prepare(small(cache_dir, "maml")).algorithm)


def test_a_diverging_loss_never_reaches_the_weights(tmp_path: Path, cache_dir: Path) -> None:
    chosen = small(cache_dir, "maml", "algo.meta_lr=1e18", "checkpoint.every=1", "iterations=50")
    directory = RunDirectory(tmp_path / "run")
    with pytest.raises(RunDivergedError) as error:
        run(chosen, directory)
    found = re.search(r"in iteration (\d+) is (nan|inf|not)", str(error.value))
    assert found is not None, error.value
    assert checkpoints.read(directory.last)["iteration"] == int(found[1]) - 1
    for weight in checkpoints.read(directory.last)["net"].values():
        assert torch.isfinite(weight).all()


def test_the_inner_step_that_diverges_is_named(tmp_path: Path, cache_dir: Path) -> None:
    chosen = small(cache_dir, "fomaml", "algo.inner_lr=1e8", "algo.inner_steps=5")
    with pytest.raises(RunDivergedError, match=r"task 0 in iteration 1 .* from inner step [1-5] "):
        run(chosen, RunDirectory(tmp_path / "run"))


def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit on the size of a file gives the same error in the same place, and needs no root."""
    chosen = small(cache_dir, "maml", "checkpoint.every=1")
    untouched = outcome(recorded(chosen, tmp_path / "untouched"))
    directory = RunDirectory(tmp_path / "full")
    full = (tmp_path / "untouched" / "checkpoints" / "best.pt").stat().st_size // 2
    plain, soft = module.meta_validate, resource.getrlimit(resource.RLIMIT_FSIZE)

    def validate(*arguments: object) -> object:
        found = plain(*arguments)  # type: ignore[arg-type]
        resource.setrlimit(resource.RLIMIT_FSIZE, (full, soft[1]))
        return found

    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    module.meta_validate = validate  # type: ignore[assignment]
    try:
        with pytest.raises(SystemExit) as end:
            recorded(chosen, directory.path)
    finally:
        module.meta_validate = plain
        resource.setrlimit(resource.RLIMIT_FSIZE, soft)
        signal.signal(signal.SIGXFSZ, ignored)
    assert end.value.code == 1
    assert "best.pt: File too large" in capsys.readouterr().err
    assert json.loads(directory.status.read_text())["status"] == "failed"
    assert checkpoints.read(directory.last)["iteration"] == 3
    shutil.copytree(directory.path, tmp_path / "elsewhere")
    assert outcome(recorded(chosen, tmp_path / "elsewhere")) == untouched


def test_a_directory_that_vanishes_is_named_and_not_made_again(
    tmp_path: Path,
    cache_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = evaluation.evaluate

    def evaluate(*arguments: object, **named: object) -> object:
        shutil.rmtree(tmp_path / "run")
        return plain(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "evaluate", evaluate)
    with pytest.raises(SystemExit) as end:
        recorded(small(cache_dir, "maml"), tmp_path / "run")
    assert end.value.code == 1
    assert "metrics.csv: No such file or directory" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_out_of_memory_gives_the_sizes_and_what_lowers_them(cache_dir: Path) -> None:
    chosen = small(cache_dir, "maml")
    with pytest.raises(OutOfMemoryError) as error, memory_explained(chosen):
        torch.empty(2**60)
    for part in ("meta_batch=3", "chunk=None", "recompute=true", "tried to allocate"):
        assert part in str(error.value)
