"""What a meta-test tells besides means: by class, by pair of classes, by task and by confidence.

All of it is of the last adaptation step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from fewshot_cli.data.arrays import ArrayTasks
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.task import Judged, Scores, TaskBatch, TaskSource
from fewshot_cli.runs.directory import RunDirectory

Array = np.ndarray[Any, Any]
BINS = 15  # of confidence, alike in width, as in Guo et al. 2017, section 5
AT_ONCE = 1000  # tasks whose pairs of classes are counted together


def judged(outputs: Tensor, tasks: TaskBatch) -> tuple[Judged, ...]:
    """What outputs `[T, B, N]` say of the queries; nothing where targets are numbers."""
    if tasks.query_y.is_floating_point():
        return ()
    taken = outputs.argmax(-1, keepdim=True)
    confidence = outputs.double().softmax(-1).gather(-1, taken)
    return (
        Judged(
            tasks.query_y.int().numpy(force=True),
            taken[..., 0].int().numpy(force=True),
            confidence[..., 0].float().numpy(force=True),
            None if tasks.classes is None else tasks.classes.numpy(force=True),
            tasks.shared,
            None if tasks.groups is None else tasks.groups.numpy(force=True),
        ),
    )


def leave(directory: RunDirectory, scores: Scores, source: TaskSource) -> float | None:
    """Write the four files; the expected calibration error.

    Of tasks whose classes have no identity, as in a user's own `draw`, only test_calibration.csv.
    None and no file for regression.

    Args:
        scores: of a whole meta-test at its last step.
        source: of its tasks, in images.
    """
    if not scores.judged:
        return None
    told = _joined(scores.judged)
    rows, error = calibration(told)
    columns = "confidence_from", "confidence_to", "queries", "confidence", "accuracy"
    directory.write_table(directory.test_calibration, columns, rows)
    if not told.shared and told.classes is None:
        return error
    classes, groups = _names(source, told)
    task, of, queries, right = by_task(told)
    accuracy = right / queries
    directory.write_table(
        directory.test_contents,
        ("task", "group", "class", "queries", "accuracy"),
        (
            (task, groups[task] if groups else None, classes[each], *numbers)
            for task, each, *numbers in _rows(task, of, queries, accuracy)
        ),
    )
    directory.write_table(
        directory.test_classes,
        ("class", "tasks", "queries", "accuracy", "accuracy_ci95"),
        ((classes[each], *numbers) for each, *numbers in by_class(of, queries, accuracy)),
    )
    directory.write_table(
        directory.test_confusions,
        ("class", "judged_as", "count", "queries", "tasks"),
        ((classes[one], classes[two], *numbers) for one, two, *numbers in confusions(told)),
    )
    return error


def calibration(told: Judged) -> tuple[list[tuple[float | None, ...]], float | None]:
    """For each bin its ends, queries, mean confidence and accuracy; the expected calibration error.

    The error is the mean over queries of what separates the accuracy of their bin from its mean
    confidence (Guo et al. 2017, equation 3). None where an output is not finite.
    """
    sure = told.confidence.ravel().astype(np.float64)
    right = (told.truth == told.taken).ravel()
    finite = np.isfinite(sure)
    place = np.clip(np.ceil(sure[finite] * BINS).astype(np.int64) - 1, 0, BINS - 1)
    count = np.bincount(place, minlength=BINS)
    confidence = np.bincount(place, sure[finite], BINS)
    accuracy = np.bincount(place, right[finite], BINS)
    rows = list[tuple[float | None, ...]]()
    for at, (queries, sum_of_confidence, hits) in enumerate(_rows(count, confidence, accuracy)):
        means = (sum_of_confidence / queries, hits / queries) if queries else (None, None)
        rows.append((at / BINS, (at + 1) / BINS, queries, *means))
    error = float(np.abs(accuracy - confidence).sum() / len(sure))
    return rows, error if finite.all() else None


def by_task(told: Judged) -> tuple[Array, Array, Array, Array]:
    """For each class in a task: the task, the class, its queries and how many were judged right."""
    labels = int(told.truth.max()) + 1
    each = np.arange(len(told.truth))[:, None] * labels + told.truth
    found, place, queries = np.unique(each, return_inverse=True, return_counts=True)
    right = np.bincount(place.ravel(), (told.truth == told.taken).ravel())
    task, label = np.divmod(found, labels)
    return task, label if told.classes is None else told.classes[task, label], queries, right


def by_class(of: Array, queries: Array, accuracy: Array) -> Iterator[tuple[Any, ...]]:
    """Each class, its tasks, queries and mean accuracy over tasks, with a 95 % interval's half.

    Args:
        of, queries, accuracy: of each class in a task.
    """
    from scipy.special import stdtrit  # here, so that a run's first meta-update does not wait

    classes, place, tasks = np.unique(of, return_inverse=True, return_counts=True)
    mean = np.bincount(place, accuracy) / tasks
    squares = np.bincount(place, (accuracy - mean[place]) ** 2)
    there = np.bincount(place, queries).astype(np.int64)
    for each, count, all_queries, value, square in _rows(classes, tasks, there, mean, squares):
        half = None
        if count > 1:
            deviation = math.sqrt(square / (count - 1))
            half = float(stdtrit(count - 1, 0.975)) * deviation / math.sqrt(count)
        yield each, count, all_queries, value, half


def confusions(told: Judged) -> Iterator[tuple[int, int, int, int, int]]:
    """A class, what it was taken for, how often, of how many of its queries, in how many tasks.

    Pairs that do not occur are left out, but a class that was never judged right has a row with
    itself. Queries and tasks are those in which the one could be taken for the other.
    """
    truth, taken = (_classes(told, labels) for labels in (told.truth, told.taken))
    many = int(max(truth.max(), taken.max())) + 1
    occur, times = np.unique(truth * many + taken, return_counts=True)
    pairs = np.union1d(occur, np.unique(truth) * (many + 1))
    count = np.zeros(len(pairs), np.int64)
    count[np.searchsorted(pairs, occur)] = times
    one, two = np.divmod(pairs, many)
    if told.classes is None:
        _, of, in_task, _ = by_task(told)
        tasks = np.bincount(of, minlength=many)[one]
        queries = np.bincount(of, in_task, many).astype(np.int64)[one]
    else:
        tasks = _met(told.classes, pairs, many)
        queries = tasks * (told.truth.shape[1] // told.classes.shape[1])
    yield from _rows(one, two, count, queries, tasks)


def _classes(told: Judged, labels: Array) -> Array:
    """Which classes labels `[T, B]` stand for."""
    if told.classes is None:
        return labels.astype(np.int64)
    found: Array = np.take_along_axis(told.classes, labels.astype(np.int64), 1)
    return found


def _met(classes: Array, pairs: Array, many: int) -> Array:
    """In how many tasks both classes of each pair are; a pair is its classes' `one * many + two`.

    Args:
        classes: of the tasks, `[T, N]`.
        pairs: in order.
    """
    tasks = np.zeros(len(pairs), np.int64)
    for first in range(0, len(classes), AT_ONCE):
        some = classes[first : first + AT_ONCE]
        there = (some[:, :, None] * many + some[:, None, :]).ravel()
        place = np.searchsorted(pairs, there).clip(max=len(pairs) - 1)
        tasks += np.bincount(place[pairs[place] == there], minlength=len(pairs))
    return tasks


def _names(source: TaskSource, told: Judged) -> tuple[Sequence[str], list[str] | None]:
    """What to call the classes, by number where the source does not know; and each task's group."""
    if isinstance(source, ImageTasks):
        return source.names["test"], None
    if isinstance(source, ArrayTasks):
        there = list(source.sizes["test"])
        if told.groups is None:
            return there, None
        return source.shared_names or _numbers(told), [there[group] for group in told.groups]
    return _numbers(told), None


def _numbers(told: Judged) -> list[str]:
    last = told.truth.max() if told.classes is None else told.classes.max()
    return [str(number) for number in range(max(int(last), int(told.taken.max())) + 1)]


def _joined(parts: Sequence[Judged]) -> Judged:
    """The tasks of all parts, which are of one source."""
    first = parts[0]

    def every(name: str) -> Array:
        return np.concatenate([getattr(part, name) for part in parts])

    return Judged(
        every("truth"),
        every("taken"),
        every("confidence"),
        None if first.classes is None else every("classes"),
        first.shared,
        None if first.groups is None else every("groups"),
    )


def _rows(*columns: Array) -> Iterator[tuple[Any, ...]]:
    """Numbers of Python, row by row."""
    return zip(*(column.tolist() for column in columns), strict=True)
