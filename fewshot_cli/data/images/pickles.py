"""Arrays that others left as pickles, read without running what a pickle asks for."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_cli.settings.errors import UserError

Array = np.ndarray[Any, Any]


def load(path: Path) -> Any:
    """The dicts, lists, strings, bytes, numbers and numpy arrays of a pickle.

    A pickle is a program that may call whatever it names. Here a name stands for one of the few
    functions below, whatever it means elsewhere. Strings of Python 2 are read as Latin-1, so that
    no byte is lost.

    Raises:
        UserError: the file is missing, damaged, or names anything else.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            return _Unpickler(file, encoding="latin1").load()
    # Damage makes the unpickler and numpy raise errors of many kinds.
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: expected a whole pickle of numpy arrays ({why})") from error


def expect(fits: bool, path: Path, wanted: str) -> None:
    """Refuse a file or folder whose content does not fit.

    Raises:
        UserError: `fits` is false.
    """
    if not fits:
        raise UserError(f"{path}: expected {wanted}")


class _Dtype:
    """The type of numbers; numpy's own would believe any state, one that overruns memory too."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        self.plain = np.dtype(str(code))
        if self.plain.kind not in "biuf":
            raise pickle.UnpicklingError(f"an array of {self.plain}, not of numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.plain = self.plain.newbyteorder(state[1])


class _Array(Array):
    def __setstate__(self, state: Any) -> None:
        version, shape, dtype, fortran, content = state
        super().__setstate__((version, shape, dtype.plain, fortran, _bytes(content)))


def _empty(subtype: str, shape: tuple[int, ...], code: str) -> _Array:
    """What takes an array's state; its own shape and type mean nothing."""
    return _Array(0)


def _from_buffer(buffer: bytes, dtype: _Dtype, shape: tuple[int, ...], order: Any) -> Array:
    return np.frombuffer(buffer, dtype.plain).reshape(shape, order=order)


def _scalar(dtype: _Dtype, content: bytes | str) -> Any:
    return np.frombuffer(_bytes(content), dtype.plain)[0]


def _bytes(content: bytes | str, encoding: str = "latin1") -> bytes:
    """Also how Python 3 writes bytes for Python 2; then always in Latin-1."""
    return content.encode("latin1") if isinstance(content, str) else bytes(content)


NAMES: dict[str, Any] = {
    "numpy.ndarray": "ndarray",  # an argument of the next, called by nobody
    "numpy.core.multiarray._reconstruct": _empty,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy.dtype": _Dtype,
    "_codecs.encode": _bytes,
    "builtins.bytearray": _bytes,
    "__builtin__.bytearray": _bytes,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = f"{module.replace('numpy._core', 'numpy.core')}.{name}"  # as numpy 2 calls it
        if known not in NAMES:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not run")
        return NAMES[known]
