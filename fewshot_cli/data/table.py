"""A user's own table or arrays: rows of classes, or rows that a column groups into tasks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewshot_cli.data.arrays import ArrayTasks
from fewshot_cli.data.folder import by_lot
from fewshot_cli.data.images.splits import SPLITS
from fewshot_cli.data.tables import columns, encoding, npz, parquet, text
from fewshot_cli.data.tables.encoding import Kept
from fewshot_cli.data.tables.groups import Groups, told
from fewshot_cli.data.tables.table import Array, Table, Words
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import DataConfig, Missing, Shapes, key

ENDINGS = (*text.SEPARATORS, ".parquet", ".npz")


@dataclass
class TableConfig(DataConfig):
    counted = True
    images = False
    split: str = key(
        "random",
        shapes=Shapes.tasks,
        help="random: by lot; test: all are for the meta-test; else the column that says it",
    )
    label: str | None = key(None, shapes=Shapes.tasks, help="the column of classes")
    task: str | None = key(
        None, shapes=Shapes.tasks, help="the column whose values are tasks; null: made of classes"
    )
    target: Any = key(
        None, shapes=Shapes.tasks, help="the column of numbers to predict, or a list of columns"
    )
    features: Any = key(None, shapes=Shapes.tasks, help="a list of columns; null: all others")
    drop: Any = key(None, shapes=Shapes.tasks, help="a list of columns that are no features")
    standardise: bool = key(
        True, shapes=Shapes.tasks, help="features, and targets, by the rows of meta-train"
    )
    missing: Missing = key(
        Missing.refuse, shapes=Shapes.tasks, help="what becomes of missing numbers"
    )
    min_rows: int | None = key(
        None, shapes=Shapes.tasks, above=0, help="of a class or task, or it is left out"
    )

    @property
    def regression(self) -> bool:
        return self.target is not None

    @property
    def shared(self) -> bool:
        return self.task is not None and self.target is None


def load(config: TableConfig, cache_dir: str, device: torch.device) -> ArrayTasks:
    """Read the table once, and hold it once.

    Raises:
        UserError: the file, or a column of it, cannot be used.
    """
    label, targets = _asked(config)
    table = _read(config, label, targets)
    groups = table.keys[config.task or str(label)]
    for name, words in table.keys.items():
        _refuse_empty(table, name, words)
    by_group = Groups(groups)
    splits = _splits(table, groups, by_group.sizes, config)
    rows = {split: by_group.rows(names) for split, names in splits.items() if split != "valid"}
    alone = splits["valid"] is not splits["train"]
    rows["valid"] = by_group.rows(splits["valid"]) if alone else rows["train"]

    shared = table.keys[str(label)] if config.shared else None
    kept, fills = _kept(config.kept_in), config.missing is Missing.median
    encoding.refuse_missing(table, fills and (kept is None or kept.median is not None))
    kept = kept or encoding.learned(table, rows["train"], config.standardise, fills, shared)
    x, y = encoding.encode(table, kept)
    of_rows: Tensor | None = None
    if config.regression:
        of_rows = torch.from_numpy(y if y.shape[1] > 1 else y[:, 0].copy())
    elif shared is not None:
        of_rows = _labels(table, shared, kept.classes or [], rows, str(label))
    scale = kept.target_scale
    return ArrayTasks(
        torch.from_numpy(x),
        {split: torch.from_numpy(rows[split]) for split in SPLITS},
        {split: {name: by_group.sizes[name] for name in splits[split]} for split in SPLITS},
        device,
        of_rows,
        y.shape[1] if config.regression else None if shared is None else len(kept.classes or ()),
        None if scale is None else torch.tensor(scale, dtype=torch.float32),
        kept.as_json(),
        table.fingerprint,
    )


def names_of(value: Any) -> list[str]:
    """Columns, as a list or a text with commas gives them."""
    if value is None:
        return []
    found = value if isinstance(value, list) else str(value).split(",")
    return [str(name) for name in found]


def _asked(config: TableConfig) -> tuple[str | None, list[str]]:
    """The column of classes, and those of targets.

    Raises:
        UserError: the keys name too few columns, or too many.
    """
    if config.root is None:
        raise UserError("data.root=null: data=table needs a file, data.root=FILE")
    path = Path(config.root)
    if path.is_dir():
        raise UserError(f"data.root={path}: is a folder; expected a file, or data=folder")
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"data.root={path}: expected a file {', '.join(ENDINGS)}")
    if not path.is_file():
        raise UserError(f"data.root={path}: no such file; expected {', '.join(ENDINGS)}")
    targets, label = names_of(config.target), config.label
    twice = sorted({name for name in targets if targets.count(name) > 1})
    if twice:
        raise UserError(f"data.target={','.join(targets)}: names {twice[0]} twice")
    if targets and label is not None:
        raise UserError(f"data.target={','.join(targets)}: not with data.label={label}")
    if targets and config.task is None:
        raise UserError(
            f"data.task=null: data.target={','.join(targets)} needs data.task=COLUMN, whose values "
            "are the tasks"
        )
    if not targets and label is None and path.suffix.lower() == ".npz":
        label = "y"
    if not targets and label is None:
        raise UserError(
            "data.label=null: expected data.label=COLUMN for classes, or data.task=COLUMN and "
            "data.target=COLUMN for tasks of numbers"
        )
    return label, targets


def _read(config: TableConfig, label: str | None, targets: list[str]) -> Table:
    split = None if config.split in ("random", "test") else config.split
    named = {"data.label": label, "data.task": config.task, "data.split": split}
    keys = {name: key for key, name in named.items() if name is not None}
    taken = {**keys, **dict.fromkeys(targets, "data.target")}
    if len(taken) < sum(name is not None for name in named.values()) + len(targets):
        told = ", ".join(f"{key}={name}" for key, name in named.items() if name is not None)
        if targets:
            told += f", data.target={','.join(targets)}"
        raise UserError(f"{told}: name one column twice; expected another for each")
    path = Path(str(config.root))
    ending = path.suffix.lower()
    if ending == ".npz":
        for key in ("features", "drop"):
            if getattr(config, key) is not None:
                raise UserError(f"data.{key}: an .npz has its features in x; expected null")
        return npz.read(path, keys, dict.fromkeys(targets, "data.target"))
    file = parquet.survey(path) if ending == ".parquet" else text.survey(path)
    kept = _kept(config.kept_in)
    wanted = names_of(config.features)
    if kept is not None:
        wanted = [name for name in file.header if name in {*kept.numbers, *kept.categories}]
        lost = [name for name in (*kept.numbers, *kept.categories) if name not in file.header]
        if lost:
            raise UserError(f"data.root={path}: has no column {lost[0]}, which the run has read")
    features = columns.features_of(file.header, path, wanted, names_of(config.drop), taken)
    return columns.read(file, features, list(keys), targets)


def _kept(path: str | None) -> Kept | None:
    """What a run left of how it read its table."""
    if path is None:
        return None
    try:
        return Kept(**json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: expected what a run on data=table left there") from error


def _refuse_empty(table: Table, name: str, words: Words) -> None:
    empty = words.codes < 0
    if empty.any():
        row = int(empty.argmax())
        raise UserError(
            f"{table.path}: {table.where(row)}, column {name}: is empty; expected a word"
        )


def _splits(
    table: Table, groups: Words, sizes: Mapping[str, int], config: TableConfig
) -> dict[str, list[str]]:
    """The classes or tasks of each split; without any, meta-validation has those of meta-train."""
    large = {name for name, count in sizes.items() if count >= (config.min_rows or 1)}
    if config.split == "test":
        met = {*config.left_out}
        chosen: dict[str, list[str]] = {split: [] for split in SPLITS}
        chosen["test"] = [name for name in sizes if name not in met]
    elif config.split == "random":
        chosen = by_lot(sizes, dataclasses.replace(config, min_images=config.min_rows))
    else:
        column, what = f"column {config.split}", "task" if config.task else "class"
        said = table.keys[config.split]
        chosen = told(groups, said, str(table.path), table.where, column, what)
    chosen = {split: [name for name in names if name in large] for split, names in chosen.items()}
    return chosen | {"valid": chosen["valid"] or chosen["train"]}


def _labels(
    table: Table, shared: Words, classes: list[str], rows: Mapping[str, Array], name: str
) -> Tensor:
    """Of every row, int64 `[n]`: its place among the classes that meta-train has.

    Raises:
        UserError: a task that is used has another class.
    """
    known = {word: place for place, word in enumerate(classes)}
    places = np.array([known.get(word, -1) for word in shared.names] or [-1], np.int64)
    found = places[shared.codes]
    for split, of in rows.items():
        wrong = of[found[of] < 0]
        if len(wrong):
            row = int(wrong.min())
            raise UserError(
                f"{table.path}: {table.where(row)}, column {name}: class "
                f"{shared.names[shared.codes[row]]} of {split} is in no task of meta-train; "
                "expected classes that all tasks share"
            )
    return torch.from_numpy(found)
