"""A user's own table or arrays: rows of classes, or rows that a column groups into tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewshot_cli.data.arrays import ArrayTasks
from fewshot_cli.data.folder import by_lot
from fewshot_cli.data.images.splits import SPLITS
from fewshot_cli.data.tables import encoding, reading
from fewshot_cli.data.tables.groups import Groups, told
from fewshot_cli.data.tables.table import Array, Table, Words
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import DataConfig, Missing, Shapes, key


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
    label, targets = reading.asked(config)
    table = reading.read(config, label, targets)
    groups = table.keys[config.task or str(label)]
    reading.refuse_empty(table)
    by_group = Groups(groups)
    splits = _splits(table, groups, by_group.sizes, config)
    rows = {split: by_group.rows(names) for split, names in splits.items() if split != "valid"}
    alone = splits["valid"] is not splits["train"]
    rows["valid"] = by_group.rows(splits["valid"]) if alone else rows["train"]

    shared = table.keys[str(label)] if config.shared else None
    kept, fills = reading.kept_of(config.kept_in), config.missing is Missing.median
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
        kept.classes if config.shared else None,
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
