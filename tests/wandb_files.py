"""What W&B's client wrote offline, by the message types of its own.

Its files are logs as LevelDB has them: blocks of 32 KiB with pieces of records, each behind a
checksum, its length and whether it is whole, first, middle or last.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK, HEAD = 32 * 1024, 7
WHOLE, FIRST, _, LAST = 1, 2, 3, 4
OWN = ("_step", "_timestamp", "_runtime", "iteration", "adaptation_steps")


@dataclass
class Run:
    """One start of a run: a folder with a file."""

    id: str = ""
    entity: str = ""
    project: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    notes: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)  # by W&B's own step
    axes: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, list[str]] = field(default_factory=dict)
    exit_code: int | None = None

    def series(self) -> dict[str, list[tuple[int, float]]]:
        names = dict.fromkeys(name for row in self.rows.values() for name in row)
        return series(self.rows, {name for name in names if name not in OWN})


def series(rows: dict[int, dict[str, Any]], names: set[str]) -> dict[str, list[tuple[int, float]]]:
    """By name, the steps of its own axis and its values, in the order of W&B's steps."""
    found: dict[str, list[tuple[int, float]]] = {name: [] for name in names}
    for step in sorted(rows):
        for name in names & rows[step].keys():
            axis = "adaptation_steps" if name.startswith("test/") else "iteration"
            found[name].append((rows[step][axis], rows[step][name]))
    return found


def read(folder: Path) -> list[Run]:
    """All starts in a folder `wandb`, the first one first."""
    return [_run(path) for path in sorted(folder.glob("offline-run-*/*.wandb"))]


def _run(path: Path) -> Run:
    from wandb.proto.wandb_internal_pb2 import Record

    run = Run()
    for content in _records(path.read_bytes()):
        record = Record.FromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            told = record.run
            run.id, run.entity, run.project = told.run_id, told.entity, told.project
            run.name, run.group, run.job_type = told.display_name, told.run_group, told.job_type
            run.notes, run.tags = told.notes, list(told.tags)
            run.config |= {each.key: json.loads(each.value_json) for each in told.config.update}
        elif kind == "history":
            row = {
                each.key or ".".join(each.nested_key): json.loads(each.value_json)
                for each in record.history.item
            }
            kept = {name: value for name, value in row.items() if name not in OWN[:3]}
            run.rows.setdefault(record.history.step.num or row["_step"], {}).update(kept)
        elif kind == "summary":
            run.summary |= {
                each.key or ".".join(each.nested_key): json.loads(each.value_json)
                for each in record.summary.update
            }
        elif kind == "metric" and record.metric.glob_name:
            run.axes[record.metric.glob_name] = record.metric.step_metric
        elif kind == "artifact":
            files = [each.path for each in record.artifact.manifest.contents]
            run.artifacts[record.artifact.name] = files
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def _records(data: bytes) -> Iterator[bytes]:
    assert data[:4] == b":W&B"
    place, parts = HEAD, b""
    while place + HEAD <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEAD:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + HEAD])
        part = data[place + HEAD : place + HEAD + length]
        place += HEAD + length
        if kind in (WHOLE, FIRST):
            parts = b""
        parts += part
        if kind in (WHOLE, LAST):
            yield parts
