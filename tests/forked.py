"""What a forked process does in place of `python -m fewshot_cli`. Alone, since it imports this."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

# The server of forks imports this last: a fork that collects garbage leaves alone, and so does not
# copy, what the server has by now.
gc.freeze()


def fewshot(
    arguments: tuple[str, ...], folder: Path, environment: dict[str, str], streams: list[Path]
) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, stream in enumerate(streams, start=1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = ["fewshot", *arguments]

    from fewshot_cli.app import main

    main()
