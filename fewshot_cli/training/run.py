"""One run, from a config to a finished run directory."""

from __future__ import annotations

import math
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fewshot_cli import trackers
from fewshot_cli.algorithms.base import DivergedError, MetaLearner
from fewshot_cli.data.arrays import ArrayTasks
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.task import Scores, TaskBatch, score
from fewshot_cli.models import digest
from fewshot_cli.progress import Progress, say
from fewshot_cli.runs.directory import Metrics, RunDirectory
from fewshot_cli.runs.signals import Waiting, put_off
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Compile, Config, LimitsConfig
from fewshot_cli.stacked.ranks import ALONE, Ranks
from fewshot_cli.training import by_class, checkpoints, compiling, limits, trajectory
from fewshot_cli.training.evaluation import StoppedError, evaluate, metrics, scored_steps, shown
from fewshot_cli.training.memory import memory_explained
from fewshot_cli.training.setup import Setup, prepare
from fewshot_cli.training.state import Saver, TrainingState, earlier_in, restored

if TYPE_CHECKING:  # it imports what compiles
    from fewshot_cli.stacked.compiled import Compilation

# Told an iteration and the goodness of its meta-validation: whether the run is not worth more.
Judge = Callable[[int, float], bool]


def nobody(iteration: int, goodness: float) -> bool:
    """No judge."""
    return False


class RunDivergedError(Exception):
    """The training loss is no finite number any more; the last checkpoint is from before."""


def run(
    config: Config, directory: RunDirectory, ranks: Ranks = ALONE, judge: Judge = nobody
) -> None:
    """Meta-train with meta-validation, meta-test, and leave the run directory complete.

    Goes on from the last whole checkpoint where the directory has one, to the same bits as a
    run that was never stopped.

    Args:
        directory: which the first of the ranks writes and reads.
        judge: asked by the first of the ranks.

    Raises:
        RankLostError: a rank is gone or does not answer.
        UserError: the device or the data is not what the config says, or the checkpoints are of
            another config.
        RunDivergedError: names the iteration, the task and the inner step.
        OutOfMemoryError: gives the sizes.
    """
    start = time.monotonic()
    earlier = ranks.first(lambda: earlier_in(directory, config))
    directory.begin(config, *([earlier.metrics] if earlier else []))
    with trackers.following(config, directory), memory_explained(config):
        setup = prepare(config, begins=earlier is None, ranks=ranks)
        _refuse_other_content(setup)
        if earlier:
            earlier.refuse_others(config)  # once more, since the data's fingerprint is known now
        directory.record(config)
        source = setup.in_images().source
        if isinstance(source, ArrayTasks) and source.kept is not None:
            directory.write_data(source.kept)
        if isinstance(source, ImageTasks | ArrayTasks) and config.data.counted:
            _tell_splits(source.sizes, config, directory)
        at = restored(earlier, setup, start) if earlier else TrainingState.new(config, start)
        _tell_who_idles(setup)
        if config.compile == Compile.auto:
            say(compiling.told(config, setup.algorithm.net, setup.device))
        directory.stopped = _meta_train(setup, directory, at, judge)
        path, state = ranks.first(lambda: checkpoints.tested(directory, config.eval.checkpoint))
        iteration = checkpoints.fill(path, setup.algorithm, state)
        tested = meta_test(setup, directory, iteration, at.start)
        how = {"iterations": at.iteration, "stopped": directory.stopped}
        seconds = time.monotonic() - at.start
        directory.write_summary(summary(setup, tested, iteration, seconds) | how)


def _refuse_other_content(setup: Setup) -> None:
    """All ranks must see the same data and begin with the same weights.

    Raises:
        UserError: a host has others.
    """
    config, ranks = setup.config, setup.algorithm.acceleration.ranks
    if ranks.size == 1:
        return
    weights = digest(setup.algorithm.net)
    seen = ranks.every((config.data.fingerprint, config.model.pretrained, weights))
    for rank, other in enumerate(seen):
        for what, mine, theirs in zip(
            ("data.root: the data", "model.weights: the weights", "init: the first weights"),
            seen[0],
            other,
            strict=True,
        ):
            if mine != theirs:
                raise UserError(
                    f"{what} of rank {rank} is not that of rank 0; expected the same on all hosts"
                )


def _tell_who_idles(setup: Setup) -> None:
    """A line where a meta-update has too few chunks for the ranks."""
    config, acceleration = setup.config, setup.algorithm.acceleration
    ranks, algorithm = acceleration.ranks, setup.algorithm
    if ranks.size == 1 or not isinstance(algorithm, MetaLearner):
        return
    chunks = algorithm.units(config.meta_batch)
    if chunks < ranks.size:
        share = math.ceil(config.meta_batch / ranks.size)
        ways_out = "" if algorithm.pools else f"; batching=stacked chunk={share} shares them out"
        say(
            f"The {config.meta_batch} tasks of a meta-update adapt in {chunks} "
            f"{'chunk' if chunks == 1 else 'chunks'}, which leaves {ranks.size - chunks} of the "
            f"{ranks.size} ranks nothing to do in it{ways_out}"
        )


def _tell_splits(
    splits: Mapping[str, Mapping[str, int]], config: Config, directory: RunDirectory
) -> None:
    """splits.csv, and a line where meta-validation has no classes of its own, or tasks repeat."""
    directory.write_splits(splits)
    groups = "tasks" if config.data.grouped else "classes"
    if config.algo.meta_trains and splits["valid"] == splits["train"]:
        say(
            f"Meta-validation draws from the {len(splits['train'])} {groups} of meta-train and "
            f"only chooses the checkpoint; meta-test has {len(splits['test'])} others"
        )
    if config.data.grouped and config.eval.tasks > len(splits["test"]):
        say(
            f"eval.tasks={config.eval.tasks}: meta-test has {len(splits['test'])} tasks, which are "
            "tested more than once, each time with other rows"
        )


def _meta_train(
    setup: Setup, directory: RunDirectory, state: TrainingState, judge: Judge
) -> str | None:
    """The outer loop. Keeps the last two checkpoints and the best by meta-validation.

    Returns:
        The limit that ended it before its last iteration, or "pruned".
    """
    config, algorithm = setup.config, setup.algorithm
    iterations = config.iterations if isinstance(algorithm, MetaLearner) else 0
    if not state.iteration:
        trajectory.record(setup, directory, 0)
    first, latest = state.iteration + 1, dict[str, str]()
    save, ranks = Saver(setup, directory, state), algorithm.acceleration.ranks
    limit: str | None = None
    measure = config.data.measure
    limited = config.limits != LimitsConfig()

    def told_to_stop() -> bool:
        late = limited and ranks.rank == 0 and state.limit(config) is not None
        return late or signals.is_there()

    with Progress("Meta-training", iterations, "iterations") as progress, put_off() as signals:
        ranks.tell(told_to_stop)
        progress.begin_at(state.iteration)
        while state.iteration < iterations or state.to_validate:
            # By the first rank's clock, so that all of them stop in the same iteration.
            if limit is None and limited and (limit := ranks.first(lambda: state.limit(config))):
                if state.best is None:  # nothing was validated yet, and something must be tested
                    save.best()
                save.last()
            if limit is not None:
                say(f"Meta-training ends at iteration {state.iteration} of {iterations}: {limit}")
                break
            if not state.to_validate:  # else a stop came before or in the meta-validation
                assert isinstance(algorithm, MetaLearner)
                began = time.monotonic()
                scores = _meta_update(setup, algorithm, state)
                iteration = state.iteration = state.iteration + 1
                if iteration == first and (took := algorithm.compilations()):
                    say(_what_compiling_took(took))
                state.since.append(scores)
                state.since_seconds += time.monotonic() - began
                last = iteration == iterations
                if iteration % config.log_every == 0 or last:
                    latest |= _log(setup, directory, state)
                state.to_validate = iteration % config.eval.every == 0 or last
            stop = ranks.any(signals.is_there())
            if state.to_validate and not stop:
                try:
                    valid = _validate(setup, directory, state, save, told_to_stop)
                    latest["valid"] = f"{valid:{measure.short}}"
                    goodness = measure.goodness(valid)
                    poor = ranks.first(partial(judge, state.iteration, goodness))
                    if poor and state.iteration < iterations:
                        limit = limits.PRUNED
                except StoppedError:
                    stop = ranks.any(signals.is_there())  # else it is a limit
                    save.last()
            elif stop or save.is_due():
                save.last()
            if stop:  # and not one that came later, for which no checkpoint is there yet
                _stop(signals, ranks)
            progress.advance(state.iteration - progress.done, latest)
    if not iterations:
        save.best()
        save.last()
    return limit


def _stop(signals: Waiting, ranks: Ranks) -> None:
    """Do what the signal would have done, which came to this rank or to another one."""
    if ranks.rank == 0 and signals.is_there():
        signals.deliver()
    elif ranks.rank == 0:
        sys.exit(128 + signal.SIGTERM)
    ranks.first(lambda: None)  # the other ranks end when the first one has ended
    signals.forget()


def _log(setup: Setup, directory: RunDirectory, state: TrainingState) -> dict[str, str]:
    """The row of meta-training since the last one; its numbers, to show."""
    row = Scores.concatenate(state.since)
    steps, seconds = setup.config.algo.inner_steps or 0, state.since_seconds
    directory.add([metrics(row, state.iteration, "train", steps, state.start, seconds)])
    state.since, state.since_seconds = [], 0.0
    return shown(row)


def _meta_update(setup: Setup, algorithm: MetaLearner, state: TrainingState) -> Scores:
    tasks, before = setup.train_tasks(state.draws), state.inner.get_state()
    try:
        return algorithm.meta_update(tasks, state.inner)
    except DivergedError as error:
        state.inner.set_state(before)
        raise RunDivergedError(
            f"{error.line}{_where_it_diverges(setup, tasks, error.task, state)}; {error.hint}"
        ) from error


def _where_it_diverges(
    setup: Setup, tasks: TaskBatch, task: int | None, state: TrainingState
) -> str:
    """The inner step after which the query loss of a task is not finite, from its second try."""
    if task is None:
        return ""
    steps = setup.config.algo.inner_steps or 0
    learners = setup.algorithm.adapt(tasks, steps, state.inner)
    for step, learner in enumerate(learners):
        with torch.no_grad():
            loss = score(learner(tasks.query_x), tasks.query_y).loss[task]
        if not torch.isfinite(loss):
            return f", from inner step {step} on when it adapts again"
    return ""


def _what_compiling_took(took: list[Compilation]) -> str:
    last, seconds = took[-1], sum(each.seconds for each in took)
    gain = sum(each.spared for each in took)
    pays = f"pays after {seconds / gain:,.0f} iterations" if gain > 0 else "never pays"
    return (
        f"Compiled in {seconds:.1f} s: {last.what} takes {1e3 * last.call_after:.2f} ms instead of "
        f"{1e3 * last.call_before:.2f} ms, which {pays}"
    )


def _validate(
    setup: Setup,
    directory: RunDirectory,
    state: TrainingState,
    save: Saver,
    told_to_stop: Callable[[], bool],
) -> float:
    """Meta-validate and keep what there is, as the best too if it is; what it is judged by.

    Raises:
        StoppedError: a signal came, or the time is over; nothing is changed.
    """
    iteration, best = state.iteration, state.best
    valid = meta_validate(setup, directory, iteration, state.start, told_to_stop)
    measure = setup.config.data.measure
    value: float = getattr(valid, measure.name)
    goodness = measure.goodness(value)
    trajectory.record(setup, directory, iteration)
    if best is None or math.isnan(best) or goodness > best:
        state.best, state.worse = goodness, 0
        save.best()
    else:
        state.worse += 1
    state.to_validate = False
    save.last()
    return value


def meta_validate(
    setup: Setup,
    directory: RunDirectory,
    iteration: int,
    start: float,
    told_to_stop: Callable[[], bool] = lambda: False,
) -> Metrics:
    """Meta-validate the algorithm as it stands; the row is written to metrics.csv.

    Raises:
        StoppedError: it was told so.
    """
    began = time.monotonic()
    tasks, steps = setup.config.eval.valid_tasks, setup.config.algo.eval_steps
    ranks = setup.algorithm.acceleration.ranks

    def any_told_to_stop() -> bool:
        return told_to_stop() or ranks.told_to_stop()

    by_step = evaluate(setup, "valid", tasks, "Meta-validation", [steps], any_told_to_stop)
    (scores,) = by_step
    seconds = time.monotonic() - began
    row = metrics(scores, iteration, "valid", steps, start, seconds)
    directory.add([row])
    return row


def meta_test(setup: Setup, directory: RunDirectory, iteration: int, start: float) -> list[Metrics]:
    """Meta-test the algorithm as it stands; a row for each of `scored_steps`.

    Writes the rows to metrics.csv, each task's numbers to test_tasks.csv, and what `by_class` says.
    """
    began = time.monotonic()
    steps = scored_steps(setup.config)
    scored = evaluate(setup, "test", setup.config.eval.tasks, "Meta-test", steps)
    by_step = dict(zip(steps, scored, strict=True))
    seconds = time.monotonic() - began
    rows = [
        metrics(scores, iteration, "test", step, start, seconds) for step, scores in by_step.items()
    ]
    error = by_class.leave(directory, scored[-1], setup.in_images().source)
    rows[-1] = replace(rows[-1], calibration_error=error)
    directory.add(rows)
    directory.write_test_tasks(
        (task, step, loss, accuracy)
        for step, scores in by_step.items()
        for task, (loss, accuracy) in enumerate(scores.by_task())
    )
    return rows


def summary(setup: Setup, tested: list[Metrics], iteration: int, seconds: float) -> dict[str, Any]:
    """What identifies the run, how it was tested, and its final results by adaptation step."""
    config, source = setup.config, setup.in_images().source
    return {
        "algo": config.algo.name,
        "data": config.data.name,
        "model": config.model.name,
        "ways": config.ways,
        "shots": config.shots,
        "seed": config.seed,
        "tags": config.tags,
        "notes": config.notes,
        "group": config.group,
        "test": {
            "checkpoint": config.eval.checkpoint.value,
            "iteration": iteration,
            "tasks": config.eval.tasks,
            "queries": config.eval.queries,
            "classes": len(source.sizes["test"])
            if isinstance(source, ImageTasks | ArrayTasks)
            else None,
            "transductive": config.eval.transductive,
            "batch_norm": config.model.statistics.value,  # whose statistics
            **({} if config.data.regression else _calibration(tested[-1])),
            "steps": [
                {
                    "adaptation_steps": row.adaptation_steps,
                    # JSON has no infinities.
                    "loss": row.loss if math.isfinite(row.loss) else None,
                    "loss_ci95": row.loss_ci95 if math.isfinite(row.loss) else None,
                    "accuracy": row.accuracy,
                    "accuracy_ci95": row.accuracy_ci95,
                    **_rmse(row),
                }
                for row in tested
            ],
        },
        "seconds": round(seconds, 3),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("fewshot", "torch", "learn2learn", "hydra-core")},
        },
        "git_commit": _git_commit(),
    }


def _calibration(last: Metrics) -> dict[str, float | None]:
    return {"expected_calibration_error": last.calibration_error, "calibration_bins": by_class.BINS}


def _rmse(row: Metrics) -> dict[str, float | None]:
    """Of regression, in the unit of its target."""
    if row.rmse is None:
        return {}
    finite = math.isfinite(row.rmse)
    return {
        "rmse": row.rmse if finite else None,
        "rmse_ci95": row.rmse_ci95 if finite else None,
    }


def _git_commit() -> str | None:
    """The commit of the checkout that this code runs from, "-dirty" where files differ from it.

    None where this code is not under git, as in an installed wheel.
    """

    def git(*words: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None
