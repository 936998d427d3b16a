"""Arrays that are costly to make are made once a machine."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from fewshot_cli.settings.errors import UserError

Arrays = dict[str, np.ndarray[Any, Any]]


def file_of(folder: str, name: str, key: Mapping[str, object], ending: str) -> Path:
    """Where what a key shapes lies in the cache: the key's digest is part of the file's name."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return Path(folder).expanduser() / f"{name}-{digest}{ending}"


def cached(
    folder: str, name: str, key: Mapping[str, object], build: Callable[[], Arrays]
) -> Arrays:
    """The arrays that `build` gives, from the cache where a run with the same key left them.

    The file appears whole or not at all, and one that cannot be read is built again.

    Args:
        key: everything that shapes the arrays.

    Raises:
        UserError: the folder cannot be written.
    """
    path = file_of(folder, name, key, ".npz")
    ready = _read(path)
    if ready is not None:
        return ready
    with locked(folder, path):
        arrays = _read(path)
        if arrays is None:
            arrays = build()
            with writing_to(folder), written(path) as whole, open(whole, "wb") as file:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # not `allow_pickle`
        return arrays


@contextmanager
def locked(folder: str, path: Path) -> Iterator[None]:
    """Make a file of the cache inside the `with`: runs that start together make it once.

    Raises:
        UserError: the folder cannot be written.
    """
    lock = FileLock(f"{path}.lock")
    with writing_to(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writing_to(folder: str) -> Iterator[None]:
    """Say of a cache that cannot be written or read that it is the cache."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cache_dir={folder}: {error.strerror or error}; expected a folder that can be written"
        ) from error


@contextmanager
def written(path: Path) -> Iterator[str]:
    """The name of a file to write inside the `with`, which becomes `path` when it is whole."""
    file, aside = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    os.close(file)
    try:
        yield aside
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise


def _read(path: Path) -> Arrays | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception:  # missing, cut or damaged, in any of the ways of zip and npy: build it again
        return None
