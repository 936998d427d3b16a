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


def cached(
    folder: str, name: str, key: Mapping[str, object], build: Callable[[], Arrays]
) -> Arrays:
    """The arrays that `build` gives, from the cache where a run with the same key left them.

    Runs that start together build once: the others wait for the lock. The file appears whole or
    not at all, and one that cannot be read is built again.

    Args:
        key: everything that shapes the arrays; its digest is part of the file's name.

    Raises:
        UserError: the folder cannot be written.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    path = Path(folder).expanduser() / f"{name}-{digest}.npz"
    ready = _read(path)
    if ready is not None:
        return ready
    lock = FileLock(f"{path}.lock")
    with _writing_to(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        arrays = _read(path)
        if arrays is None:
            arrays = build()
            with _writing_to(folder):
                _write(path, arrays)
        return arrays
    finally:
        lock.release()


@contextmanager
def _writing_to(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cache_dir={folder}: {error.strerror or error}; expected a folder that can be written"
        ) from error


def _read(path: Path) -> Arrays | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception:  # missing, cut or damaged, in any of the ways of zip and npy: build it again
        return None


def _write(path: Path, arrays: Arrays) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        try:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # not `allow_pickle`
            file.close()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
