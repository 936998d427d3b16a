"""Checkpoints: written whole or not at all, read without running anything from the file.

A file is what torch.save makes, and behind it the sha256 of all that, so that no damage is
taken for weights.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from torch import nn

from fewshot_cli.algorithms.base import Algorithm, for_ways
from fewshot_cli.progress import say
from fewshot_cli.runs.directory import FAILED, INTERRUPTED, RunDirectory, atomic, shown
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Checkpoint

FORMAT = 2
DIGEST = hashlib.sha256().digest_size

State = dict[str, Any]


def save(
    path: Path,
    algorithm: Algorithm,
    iteration: int,
    training: State | None = None,
    previous: Path | None = None,
) -> None:
    """theta and what the algorithm carries, after `iteration` meta-updates.

    Args:
        training: what the outer loop needs besides, to go on.
        previous: where the file that is replaced goes.
    """
    state = {
        "iteration": iteration,
        "net": algorithm.net.state_dict(),
        "algorithm": algorithm.state_dict(),
        "training": training,
    }
    write(path, state, previous)


def write(path: Path, state: State, previous: Path | None = None) -> None:
    """Tensors and plain values, as `read` reads them."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT} | state, buffer)
    content = buffer.getvalue()
    with atomic(path, "wb") as file:
        file.write(content + hashlib.sha256(content).digest())
        if previous is not None and path.exists():
            # Only when the new one is on the disk may the old one go away.
            file.flush()
            os.fsync(file.fileno())
            os.replace(path, previous)


def tested(directory: RunDirectory, which: Checkpoint) -> tuple[Path, State]:
    """The checkpoint of a run that a test of it takes: its file and all of its content.

    Raises:
        UserError: it is missing or damaged; says the way on.
    """
    path = directory.checkpoints / f"{which.value}.pt"
    try:
        return path, read(path)
    except UserError as error:
        status = directory.state()
        if status in (FAILED, INTERRUPTED) and not path.exists() and not _had_best(directory):
            raise UserError(f"{error}; the run is {status}. Next: {directory.way_on}") from error
        if which is Checkpoint.best and directory.last.exists():
            last = f"fewshot evaluate {quote(str(shown(directory.path)))} eval.checkpoint=last"
            raise UserError(f"{error}; the last one can be tested: {last}") from error
        raise


def _had_best(directory: RunDirectory) -> bool:
    """Whether it came to a meta-validation."""
    found = newest(directory.last, directory.previous)
    return found is not None and found[1]["training"]["best"] is not None


def load(path: Path, algorithm: Algorithm, any_ways: bool = False) -> int:
    """Put a checkpoint's state into the algorithm; its iteration comes back.

    Raises:
        UserError: the file is missing, damaged, of another format or of another network.
    """
    return fill(path, algorithm, read(path), any_ways)


def fill(path: Path, algorithm: Algorithm, state: State, any_ways: bool = False) -> int:
    """Put the state that was read from `path` into the algorithm; its iteration comes back.

    Args:
        any_ways: the head may have been learned for another number of classes (see `for_ways`).

    Raises:
        UserError: it is of another network or algorithm.
    """
    weights = dict(state["net"])
    if any_ways:
        here = algorithm.net.state_dict()
        for name in algorithm.net.head_names:
            if name in weights and here[name].shape[1:] == weights[name].shape[1:]:
                weights[name] = for_ways(weights[name], here[name])
    _fill(path, algorithm.net, weights)
    try:
        algorithm.load_state_dict(state["algorithm"])
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"{path}: is of another algorithm; expected this run's own") from error
    return int(state["iteration"])


def read(path: Path) -> State:
    """The whole content of a checkpoint.

    Raises:
        UserError: the file is missing, damaged or of another format.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint") from error
    except OSError as error:
        raise UserError(f"{path}: cannot read it ({error.strerror})") from error
    content, digest = data[:-DIGEST], data[-DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise UserError(
            f"{path}: expected a whole checkpoint of this version (its digest is not its content's)"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files that are refused in the next line
            state: State = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if state["format"] != FORMAT:
            raise UserError(f"{path}: has format {state['format']}, expected {FORMAT}")
    except UserError:
        raise
    # torch.load lets errors of many kinds out of a file that is none of ours.
    except Exception as error:
        raise UserError(f"{path}: expected a checkpoint of fewshot") from error
    return state


def newest(last: Path, previous: Path) -> tuple[Path, State] | None:
    """The last checkpoint that is whole; None where none was written.

    Raises:
        UserError: there are checkpoints and none is whole.
    """
    there = [path for path in (last, previous) if path.exists()]
    for path in there:
        try:
            state = read(path)
        except UserError as error:
            if path == there[-1]:
                raise
            say(f"fewshot: {error}; going on from {shown(there[-1])}")
            continue
        return path, state
    return None


def _fill(path: Path, net: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    have = {name: tuple(weight.shape) for name, weight in net.state_dict().items()}
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    for name in sorted(have.keys() | found.keys(), reverse=True):  # the head first
        if have.get(name) != found.get(name):
            raise UserError(
                f"{path}: {name} has shape {found.get(name)}, "
                f"expected {have.get(name)} for this data, model and number of ways"
            )
    net.load_state_dict(weights)
