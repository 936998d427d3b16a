"""CSV and TSV: what is wrong with the bytes first, then the columns, in parts.

A first pass over the bytes, at the speed of the disk, finds what no parser explains well, counts
the lines, and gives the fingerprint. So the arrays are made once, in their size.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewshot_cli.settings.errors import UserError, in_short

SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
LONGEST = 2**20  # bytes of a line
PART = 2**24  # bytes
ROWS = 2**16  # at once


@dataclass(frozen=True)
class Text:
    """A file that can be parsed.

    Attributes:
        lines: how many it has, the header among them; not all need be rows.
    """

    path: Path
    separator: str
    header: list[str]
    lines: int
    fingerprint: str

    def frames(
        self, columns: list[str], words: list[str], most: int | None = None
    ) -> Iterator[Any]:
        """The columns, in pandas frames of some rows each.

        Args:
            words: those that are text, whatever they look like.
            most: rows to read; none: all.

        Raises:
            UserError: names the line that cannot be parsed.
        """
        import pandas as pd

        options: dict[str, Any] = {
            "sep": self.separator,
            "encoding": "utf-8-sig",
            "dtype": dict.fromkeys(words, "str"),
            "low_memory": False,
            "chunksize": ROWS,
            "nrows": most,
        }
        try:
            with pd.read_csv(self.path, **options) as parts:
                for part in parts:
                    if not isinstance(part.index, pd.RangeIndex):
                        raise UserError(
                            f"{self.path}: line {self.line(0)} has more values than the header has "
                            f"columns, {len(self.header)}; expected as many"
                        )
                    yield part[columns]
        except (pd.errors.ParserError, ValueError, OverflowError) as error:
            raise UserError(f"{self.path}: {in_short(error)}; expected a CSV") from error

    def line(self, row: int) -> int:
        """Where a row begins in the file, the header being line 1."""
        csv.field_size_limit(LONGEST * 2)
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=self.separator)
            seen = -1
            before = 0
            for values in rows:
                if values and seen == row:
                    return before + 1
                seen += bool(values)
                before = rows.line_num
        return before


def survey(path: Path) -> Text:
    """Look at all bytes of a file once.

    Raises:
        UserError: it cannot be read, or is no table in UTF-8.
    """
    separator = SEPARATORS[path.suffix.lower()]
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    lines, tail, ends = 0, 0, True
    try:
        with path.open("rb") as file:
            while part := file.read(PART):
                digest.update(part)
                if not lines and part.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise UserError(f"{path}: is in UTF-16; expected UTF-8")
                if (place := part.find(b"\0")) >= 0:
                    line = lines + part.count(b"\n", 0, place) + 1
                    raise UserError(f"{path}: line {line}: has a NUL byte; expected text in UTF-8")
                try:
                    decoder.decode(part)
                except UnicodeDecodeError as error:
                    line = lines + part.count(b"\n", 0, error.start) + 1
                    raise UserError(f"{path}: line {line}: is not in UTF-8, as expected") from None
                lines, tail = _measured(path, part, lines, tail)
                ends = part.endswith(b"\n")
    except OSError as error:
        raise UserError(f"data.root={path}: {error.strerror or error}; expected a file") from error
    if not lines and not tail:
        raise UserError(f"{path}: is empty; expected a header and rows")
    header = _header(path, separator)
    if lines + (not ends) < 2:
        raise UserError(f"{path}: has a header and no rows; expected rows")
    return Text(path, separator, header, lines + (not ends), digest.hexdigest()[:16])


def _measured(path: Path, part: bytes, lines: int, tail: int) -> tuple[int, int]:
    """The lines up to the end of a part, and the bytes of the one that goes on after it."""
    at = 0
    if tail + len(part) > LONGEST:
        while at < len(part):  # from line to line only where one could be too long
            end = part.rfind(b"\n", at, at + LONGEST - tail + 1)
            if end < 0 and len(part) - at + tail > LONGEST:
                raise UserError(
                    f"{path}: line {lines + part.count(10, 0, at) + 1} is longer than "
                    f"{LONGEST // 2**20} MiB; expected a table"
                )
            if end < 0:
                break
            at, tail = end + 1, 0
    last = part.rfind(b"\n")
    return lines + part.count(b"\n"), (tail + len(part) if last < 0 else len(part) - last - 1)


def _header(path: Path, separator: str) -> list[str]:
    csv.field_size_limit(LONGEST * 2)
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            header = next((row for row in csv.reader(file, delimiter=separator) if row), [])
        except csv.Error as error:
            raise UserError(f"{path}: line 1: {error}; expected a header") from error
    for other, name in NAMES.items():
        if len(header) == 1 and other in header[0] and other != separator:
            raise UserError(
                f"{path}: line 1 has {name} and no {NAMES[separator]}; expected a file "
                f"{path.suffix} with {NAMES[separator]} between its columns"
            )
    for place, column in enumerate(header):
        if not column.strip():
            raise UserError(f"{path}: line 1: column {place + 1} has no name; expected one")
        if column in header[:place]:
            raise UserError(f"{path}: line 1: column {column} stands twice; expected other names")
    return header
