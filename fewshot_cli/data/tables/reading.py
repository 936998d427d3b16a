"""What the keys of `data=table` ask of a file, and its table. Needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot_cli.data.tables import columns, npz, parquet, text
from fewshot_cli.data.tables.encoding import Kept
from fewshot_cli.data.tables.table import Table
from fewshot_cli.settings.errors import UserError, nearest

if TYPE_CHECKING:
    from fewshot_cli.data.table import TableConfig

ENDINGS = (*text.SEPARATORS, ".parquet", ".npz")


def names_of(value: Any) -> list[str]:
    """Columns, as a list or a text with commas gives them."""
    if value is None:
        return []
    found = value if isinstance(value, list) else str(value).split(",")
    return [str(name) for name in found]


def asked(config: TableConfig) -> tuple[str | None, list[str]]:
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


def named_columns(config: TableConfig, label: str | None) -> dict[str, str]:
    """The columns of classes, tasks and splits that there are, by the key that names each."""
    split = None if config.split in ("random", "test") else config.split
    named = {"data.label": label, "data.task": config.task, "data.split": split}
    return {key: name for key, name in named.items() if name is not None}


def read(config: TableConfig, label: str | None, targets: list[str]) -> Table:
    """The columns or arrays that the keys ask for.

    Raises:
        UserError: the file, or a column of it, cannot be used.
    """
    named = named_columns(config, label)
    keys = {name: key for key, name in named.items()}
    taken = {**keys, **dict.fromkeys(targets, "data.target")}
    if len(taken) < len(named) + len(targets):
        told = ", ".join(f"{key}={name}" for key, name in named.items())
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
    kept = kept_of(config.kept_in)
    if kept is not None:
        return again(path, kept, keys, targets)
    file = survey(path)
    wanted, drop = names_of(config.features), names_of(config.drop)
    features = columns.features_of(file.header, path, wanted, drop, taken)
    return columns.read(file, features, list(keys), targets)


def survey(path: Path) -> columns.File:
    """A file of columns. Raises UserError: it cannot be read."""
    return parquet.survey(path) if path.suffix.lower() == ".parquet" else text.survey(path)


def names_in(path: Path) -> list[str]:
    """The columns, or the arrays, of a file.

    Raises:
        UserError: it cannot be read, or is no table.
    """
    if path.suffix.lower() not in ENDINGS or not path.is_file():
        raise UserError(f"{path}: expected a file {', '.join(ENDINGS)}")
    return npz.names(path) if path.suffix.lower() == ".npz" else survey(path).header


def again(path: Path, kept: Kept, keys: dict[str, str], targets: list[str]) -> Table:
    """The features that a run read of its own table, of another file.

    Args:
        keys: the columns of labels, tasks and splits, with the key of the config that names each.

    Raises:
        UserError: the file has others, or cannot be used.
    """
    wanted = [*kept.numbers, *kept.categories]
    arrays = path.suffix.lower() == ".npz"
    if arrays is bool(wanted):
        raise UserError(f"{path}: expected {'columns' if arrays else 'an .npz'}, as the run read")
    if arrays:
        return npz.read(path, keys, dict.fromkeys(targets, "data.target"))
    file = survey(path)
    for name in wanted:
        if name not in file.header:
            raise UserError(
                f"{path}: has no column {name}, which the run has read; expected "
                f"{nearest(name, file.header)}"
            )
    taken = {**keys, **dict.fromkeys(targets, "data.target")}
    features = columns.features_of(file.header, path, wanted, [], taken)
    return columns.read(file, features, list(keys), targets, worded=[*kept.categories])


def refuse_empty(table: Table) -> None:
    """Raises UserError: a row has no label, task or split."""
    for name, words in table.keys.items():
        empty = words.codes < 0
        if empty.any():
            raise UserError(
                f"{table.path}: {table.where(int(empty.argmax()))}, column {name}: is empty; "
                "expected a word"
            )


def kept_of(path: str | None) -> Kept | None:
    """What a run left of how it read its table."""
    if path is None:
        return None
    try:
        return Kept(**json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: expected what a run on data=table left there") from error
