"""Parquet, by pyarrow, in parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewshot_cli.settings.errors import UserError, in_short

ROWS = 2**16  # at once
INDEX = "__index_level_"  # begins the column in which pandas keeps an index without a name


@dataclass(frozen=True)
class Parquet:
    """A file that can be read; its methods are those of `Text`."""

    path: Path
    header: list[str]
    lines: int
    fingerprint: str

    def frames(
        self, columns: list[str], words: list[str], most: int | None = None
    ) -> Iterator[Any]:
        import pyarrow.parquet

        seen = 0
        try:
            file = pyarrow.parquet.ParquetFile(self.path)
            for name in columns:
                if pyarrow.types.is_nested(kind := file.schema_arrow.field(name).type):
                    raise UserError(
                        f"{self.path}: column {name} has {kind} in each row; expected a number or "
                        f"a word, or data.drop={name}"
                    )
            for part in file.iter_batches(ROWS, columns=columns):
                frame = part.to_pandas(ignore_metadata=True)[columns]
                for name in words:
                    there = frame[name].notna()
                    frame[name] = frame[name].astype("str").where(there)
                yield frame if most is None else frame.head(most - seen)
                seen += len(frame)
                if most is not None and seen >= most:
                    return
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(f"{self.path}: {in_short(error)}; expected whole Parquet") from error

    def line(self, row: int) -> int:
        """The number of a row, the first being 1."""
        return row + 1


def survey(path: Path) -> Parquet:
    """Raises UserError: it cannot be read."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            f"data.root={path}: Parquet needs pyarrow; expected `pip install 'fewshot[parquet]'`"
        ) from error
    try:
        with path.open("rb") as file:
            fingerprint = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        found = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"data.root={path}: {in_short(error)}; expected whole Parquet") from error
    rows = found.metadata.num_rows
    if not rows:
        raise UserError(f"{path}: has no rows; expected rows")
    header = [name for name in found.schema_arrow.names if not name.startswith(INDEX)]
    return Parquet(path, header, rows + 1, fingerprint)


def whole(path: Path) -> Any:
    """All columns of a file that `survey` has seen, as a pandas frame."""
    import pyarrow.parquet

    frame = pyarrow.parquet.read_table(path).to_pandas(ignore_metadata=True)
    return frame[[name for name in frame if not name.startswith(INDEX)]]
