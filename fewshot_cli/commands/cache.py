"""`fewshot cache`: what the cache holds, and how it is emptied.

Raises UserError where the folder cannot be read or emptied.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from fewshot_cli.arguments import Json
from fewshot_cli.runs import as_json
from fewshot_cli.settings.errors import UserError, nearest

# The names of our files below the cache's folder; whatever else lies there stays.
DIGEST = "[0-9a-f]" * 16
NAMES = {
    "images": [f"*-{DIGEST}{end}" for end in (".npz", ".npy", ".digests.npy")],
    "features": [f"features/{DIGEST}.db"],
    "downloads": ["omniglot/images_*.zip"],
}
KINDS = (*NAMES, "compiled")


def cache(
    clear: Annotated[
        str | None,
        typer.Option(
            "--clear",
            metavar="images|features|downloads|compiled|all",
            help="Take this away; the next run that needs it makes it again.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--cache-dir", help="Of another place.", show_default=False)
    ] = None,
    json: Json = None,
) -> None:
    """Show how large the cache is: decoded images, features, downloads, compiled code.

    fewshot cache

    fewshot cache --clear features
    """
    from fewshot_cli.settings.compose import job_config

    if clear is not None and clear not in (*KINDS, "all"):
        raise UserError(f"--clear {clear}: expected {nearest(clear, (*KINDS, 'all'))}")
    root = (folder or Path(job_config([]).cache_dir)).expanduser()
    rows = []
    with as_json.in_place(json):
        try:
            files = {kind: [*_files(root, kind)] for kind in KINDS}
            for kind, of_kind in files.items():
                size, cleared = sum(file.stat().st_size for file in of_kind), clear in (kind, "all")
                rows.append(
                    {"kind": kind, "bytes": size, "files": len(of_kind), "cleared": cleared}
                )
                print(f"{kind:10}  {size / 1e6:10,.1f} MB  {len(of_kind):6,} files")
                if cleared:
                    for file in of_kind:
                        file.unlink(missing_ok=True)
                    print(f"{kind:10}  cleared")
        except OSError as error:
            raise UserError(f"{error.filename or root}: {error.strerror or error}") from error
        print(f"Files: {root}")
    as_json.leave(json, {"folder": str(root), "rows": rows})


def _files(root: Path, kind: str) -> Iterator[Path]:
    """The files of a kind, without the locks, which a run may hold."""
    if kind == "compiled":
        # Where torch keeps it (torch/_inductor/runtime/cache_dir_utils.py), for all programs.
        here = Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}"
        folder = Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR", here))
        yield from (file for file in folder.rglob("*") if file.is_file())
    for name in NAMES.get(kind, ()):
        yield from root.glob(name)
