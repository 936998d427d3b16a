"""`--json FILE`: what a verb prints, for scripts; `-` is the terminal."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from fewshot_cli.progress import say
from fewshot_cli.runs.directory import atomic, shown

TERMINAL = Path("-")


@contextmanager
def in_place(path: Path | None) -> Iterator[None]:
    """What is printed inside gives way to JSON that goes to the terminal."""
    if path == TERMINAL:
        with redirect_stdout(io.StringIO()):
            yield
    else:
        yield


def leave(path: Path | None, content: Any) -> None:
    """Write content as JSON, in which a number that is not finite is null."""
    if path is None:
        return
    told = _finite(content)  # dates of a query's own columns become words
    text = json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"
    if path == TERMINAL:
        sys.stdout.write(text)
        return
    with atomic(path) as file:
        file.write(text)
    say(f"Written: {shown(path)}")


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
