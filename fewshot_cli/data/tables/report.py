"""What `fewshot data` says of a table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_cli.data import report
from fewshot_cli.data.tables import groups, looks, reading
from fewshot_cli.settings.compose import job_config
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config

MOST_COLUMNS = 50  # that are shown


def show(path: Path, overrides: list[str]) -> dict[str, object]:
    """Print rows, columns, classes or tasks, and what of them a run cannot use; it comes back.

    Args:
        overrides: of the run that is in mind.

    Raises:
        UserError: the file cannot be read, or an override is wrong.
    """
    if path.suffix.lower() not in reading.ENDINGS:
        raise UserError(f"{path}: expected a folder of images, or {', '.join(reading.ENDINGS)}")
    of_tasks = any(word.lstrip("+").startswith("data.task=") for word in overrides)
    words = ["data=table", "model=mlp", *(["ways=1"] if of_tasks else []), *overrides]
    config = job_config(words)
    asked: Any = config.data
    label = asked.label
    if path.suffix.lower() == ".npz" and label is None and asked.target is None:
        label = "y" if "y" in reading.names_in(path) else None
    named = reading.named_columns(asked, label)
    targets = reading.names_of(asked.target)
    features, drop = (reading.names_of(value) for value in (asked.features, asked.drop))
    keys = {name: key for key, name in named.items()}
    look = looks.look_at(path, keys, targets, features, drop)
    faults = [fault for column in look.columns for fault in column.faults]
    kinds = Counter(column.kind for column in look.columns)
    lost = [f"{column.name} {column.missing:,}" for column in look.columns if column.missing]
    constant = [column.name for column in look.columns if column.constant]
    rows: dict[str, object] = {
        "rows": f"{look.rows:,}",
        "columns": ", ".join(f"{count} of {kind}" for kind, count in kinds.items()),
        "missing values": ", ".join(lost) or "none",
        "constant": ", ".join(constant) or "none",
    }
    if lost:
        faults.append("missing values; expected none, or data.missing=median, which fills them")
    by = asked.task or label
    if by is None:
        rows["duplicates"] = f"{looks.equal_rows(look)} rows are like another"
        rows["tasks"] = "expected data.label=COLUMN, or data.task=COLUMN data.target=COLUMN"
    else:
        rows |= _groups(look, by, named.get("data.split"), config, faults)
    found = rows | {"column": [*map(_of_column, look.columns)], "cannot be used": faults}
    report.show(found, {"column": MOST_COLUMNS})
    return found


def _groups(
    look: looks.Look, by: str, split: str | None, config: Config, faults: list[str]
) -> dict[str, object]:
    """The classes or tasks of a table, and what they allow; `faults` gets what cannot be used."""
    words, what = look.keys[by], report.what(config)
    for name, column in look.keys.items():
        if empty := int((column.codes < 0).sum()):
            faults.append(f"column {name}: is empty in {empty:,} rows; expected a word in each")
    there = words.codes >= 0
    counts = Counter(dict(enumerate(np.bincount(words.codes[there]).tolist())))
    sizes = {words.names[place]: count for place, count in counts.items()}
    divided, across = None, f"{looks.equal(look, words)} across {report.PLURAL[what]}"
    if split is not None:
        across += f", {looks.equal(look, look.keys[split])} across splits"
        try:
            divided = groups.told(
                words, look.keys[split], f"column {by}", look.where, f"column {split}", what
            )
        except UserError as error:
            faults.append(str(error))
            divided = {}
    small, large = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    return {
        report.PLURAL[what]: len(sizes),
        f"smallest {what}": f"{sizes[small]} rows: {small}",
        f"largest {what}": f"{sizes[large]} rows: {large}",
        "duplicates": f"{looks.equal_rows(look)} rows are like another, {across}",
        **report.runs(sizes, divided, config),
    }


def _of_column(column: looks.Column) -> str:
    if column.values is None:
        return f"{column.name}: {column.kind}"
    return f"{column.name}: {column.kind}, {len(column.values):,} different values"
