"""Tasks of a user's own Python file, which is run only where `data.trust=true` is typed.

The file has one of two functions:

    def arrays():
        return {"x": x, "y": y}  # with `task` and `split` where there are such

    def draw(split, tasks, shape, generator):
        return {"support_x": ..., "support_y": ..., "query_x": ..., "query_y": ...}

docs/python.md says what is in them. The fingerprint is the digest of the file.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewshot_cli.data.arrays import ArrayTasks
from fewshot_cli.data.folder import by_lot
from fewshot_cli.data.images.splits import SPLITS
from fewshot_cli.data.tables.groups import Groups, told
from fewshot_cli.data.tables.table import Array, Words
from fewshot_cli.data.task import TaskBatch, TaskShape
from fewshot_cli.settings.errors import UserError, in_short, nearest
from fewshot_cli.settings.schema import DataConfig, Predicts, Role, Shapes, key

FIELDS = ("support_x", "support_y", "query_x", "query_y")


@dataclass
class PythonConfig(DataConfig):
    counted = True
    images = False
    module: str | None = key(
        None, role=Role.place, shapes=Shapes.tasks, help="a Python file with arrays() or draw()"
    )
    trust: bool = key(
        False, role=Role.habit, help="run the file; to be typed each time, whatever a run recorded"
    )
    predicts: Predicts = key(
        Predicts.classes, shapes=Shapes.tasks, help="what y is: classes, shared classes or numbers"
    )

    @property
    def regression(self) -> bool:
        return self.predicts is Predicts.numbers

    @property
    def shared(self) -> bool:
        return self.predicts is Predicts.shared


class DrawnTasks:
    """What `draw` of a user's file gives, checked at each draw."""

    def __init__(self, draw: Any, config: PythonConfig, path: Path, fingerprint: str) -> None:
        self.draw, self.path, self.fingerprint = draw, path, fingerprint
        self.regression, self.device = config.regression, torch.device("cpu")
        shape = TaskShape(config.least or 1, 1, 1)
        tried = self.sample("train", 1, shape, torch.Generator().manual_seed(0))
        self.input_shape: tuple[int, ...] = tuple(tried.support_x.shape[2:])
        outputs = tried.support_y.shape[2] if tried.support_y.dim() == 3 else 1
        self.train_classes = outputs if self.regression else shape.ways

    def sample(
        self, split: str, tasks: int, shape: TaskShape, generator: torch.Generator
    ) -> TaskBatch:
        """The tasks of a generator of NumPy, whose seed comes from ours."""
        seed = int(torch.randint(2**62, (), generator=generator))
        with explained(self.path):
            found = self.draw(split, tasks, shape, np.random.default_rng(seed))
        given = _dict(self.path, "draw", found, FIELDS)
        support_x, support_y, query_x, query_y = (
            self._field(name, given[name], tasks, shape).to(self.device) for name in FIELDS
        )
        if support_x.shape[2:] != query_x.shape[2:]:
            raise UserError(
                f"{self.path}: draw: support_x has rows {list(support_x.shape[2:])} and query_x "
                f"{list(query_x.shape[2:])}; expected one shape"
            )
        return TaskBatch(support_x, support_y, query_x, query_y)

    def _field(self, name: str, value: Any, tasks: int, shape: TaskShape) -> Tensor:
        each = shape.shots if name.startswith("support") else shape.queries
        rows = tasks, shape.ways * each
        where = f"{self.path}: draw: {name}"
        found = np.asarray(value)
        if found.shape[:2] != rows or (name.endswith("x") and found.ndim < 3):
            rest = ", ..." if name.endswith("x") or self.regression else ""
            raise UserError(
                f"{where} has shape {list(found.shape)}; expected [{rows[0]}, {rows[1]}{rest}] for "
                "these tasks"
            )
        if name.endswith("x") or self.regression:
            return torch.from_numpy(_numbers(where, found))
        labels = np.arange(shape.ways).repeat(each)
        if found.dtype.kind not in "iu" or (found != labels).any():
            raise UserError(
                f"{where}: expected 0..{shape.ways - 1}, {each} of each, class after class"
            )
        return torch.from_numpy(found.astype(np.int64))


def load(config: PythonConfig, cache_dir: str, device: torch.device) -> ArrayTasks | DrawnTasks:
    """Run the user's file, where that was typed.

    Raises:
        UserError: it is not trusted, fails, or gives something else.
    """
    if config.module is None:
        raise UserError("data.module=null: data=python needs a Python file, data.module=FILE")
    path = Path(config.module)
    if not config.trust:
        raise UserError(
            f"data.trust=false: data=python runs the code in {path}; expected data.trust=true, "
            "typed each time, where you trust the file"
        )
    try:
        code = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"data.module={path}: {error.strerror or error}; expected a Python file"
        ) from error
    fingerprint = hashlib.sha256(code).hexdigest()[:16]
    module = _run(path, code, fingerprint)
    arrays, draw = (getattr(module, name, None) for name in ("arrays", "draw"))
    if callable(arrays) is callable(draw):
        has = "both" if callable(draw) else "neither"
        raise UserError(f"{path}: has {has} of arrays() and draw(); expected one of them")
    if not callable(draw):
        assert callable(arrays)
        with explained(path):
            found = arrays()
        return _of_arrays(
            _dict(path, "arrays", found, ("x", "y")), config, path, fingerprint, device
        )
    if config.shared:
        raise UserError(f"data.predicts=shared: {path} has draw(); expected classes or numbers")
    drawn = DrawnTasks(draw, config, path, fingerprint)
    drawn.device = device
    return drawn


def _run(path: Path, code: bytes, fingerprint: str) -> ModuleType:
    """The module of the bytes that the fingerprint is of."""
    module = ModuleType(f"fewshot_user_{fingerprint}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # as dataclasses and pickles expect it
    with explained(path):
        exec(compile(code, str(path), "exec"), module.__dict__)
    return module


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Whatever the user's code raises costs a line with the place in the file."""
    try:
        yield
    except (Exception, SystemExit) as error:
        lines = [
            f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)
        ]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        what = f"{type(error).__name__}: {in_short(error)}".rstrip(": ")
        raise UserError(f"{path}:{line or 1}: {what}; expected code that runs") from error


def _dict(path: Path, function: str, found: object, names: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(found, Mapping) or not {*names} <= found.keys():
        has = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
        raise UserError(f"{path}: {function} gives {has}; expected a dict with {', '.join(names)}")
    return found


def _numbers(where: str, found: Array) -> Array:
    """float32, finite."""
    if found.dtype.kind not in "fiub":
        raise UserError(f"{where} has {found.dtype}; expected numbers")
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(found, np.float32)
    wrong = ~np.isfinite(numbers).reshape(len(numbers), -1).all(1)
    if wrong.any():
        raise UserError(
            f"{where}: row {int(wrong.argmax())} has NaN or infinity; expected finite numbers"
        )
    return numbers


def _of_arrays(
    given: Mapping[str, Any],
    config: PythonConfig,
    path: Path,
    fingerprint: str,
    device: torch.device,
) -> ArrayTasks:
    where = f"{path}: arrays"
    unknown = [name for name in given if name not in ("x", "y", "task", "split")]
    if unknown:
        raise UserError(
            f"{where} gives {unknown[0]}; expected {nearest(str(unknown[0]), ['task', 'split'])}"
        )
    x = np.asarray(given["x"])
    if x.ndim < 2 or 0 in x.shape:
        raise UserError(f"{where}: x has shape {list(x.shape)}; expected [n, ...], n rows")
    of_each = {name: np.asarray(value) for name, value in given.items() if name != "x"}
    for name, value in of_each.items():
        if value.shape[:1] != x.shape[:1] or (value.ndim > 1 and (name != "y" or value.ndim > 2)):
            raise UserError(
                f"{where}: {name} has shape {list(value.shape)}, and x has {len(x)} rows; expected "
                f"[{len(x)}]"
            )
    grouped = config.predicts is not Predicts.classes
    if grouped is not ("task" in of_each):
        raise UserError(
            f"data.predicts={config.predicts.value}: {where} gives {'' if grouped else 'a '}"
            f"{'no task' if grouped else 'task'}; expected {'one' if grouped else 'none'}"
        )
    name = "task" if grouped else "y"
    words = _words(where, name, of_each[name])
    groups = Groups(words)
    chosen = by_lot(groups.sizes, config)
    if "split" in of_each:
        said = _words(where, "split", of_each["split"])
        what = "task" if grouped else "class"
        chosen = told(words, said, where, lambda row: f"row {row}", "split", what)
    chosen |= {"valid": chosen["valid"] or chosen["train"]}
    y, outputs, shared_names = None, None, None
    if config.regression:
        y = torch.from_numpy(_numbers(f"{where}: y", of_each["y"]))
        outputs = y.shape[1] if y.dim() == 2 else 1
    elif grouped:
        labels = _words(where, "y", of_each["y"])
        y, outputs = torch.from_numpy(labels.codes), len(labels.names)
        shared_names = labels.names
    return ArrayTasks(
        torch.from_numpy(_numbers(f"{where}: x", x)),
        {split: torch.from_numpy(groups.rows(chosen[split])) for split in SPLITS},
        {split: {name: groups.sizes[name] for name in chosen[split]} for split in SPLITS},
        device,
        y,
        outputs,
        fingerprint=fingerprint,
        shared_names=shared_names,
    )


def _words(where: str, name: str, values: Array) -> Words:
    """Whole numbers or words `[n]`, int64 codes."""
    if values.ndim != 1 or values.dtype.kind not in "iubU":
        raise UserError(
            f"{where}: {name} is {values.dtype} of shape {list(values.shape)}; expected whole "
            "numbers or words [n]"
        )
    found, codes = np.unique(values, return_inverse=True)
    return Words(codes.astype(np.int64), [str(each) for each in found])
