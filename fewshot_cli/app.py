"""The command line: the verbs are the files of `commands/`."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from fewshot_cli import __version__
from fewshot_cli.settings.errors import UserError
from fewshot_cli.verbs import Verbs


class Commands(Verbs):
    package = "commands"


app = typer.Typer(
    name="fewshot", cls=Commands, invoke_without_command=True, pretty_exceptions_enable=False
)


def _version(asked: bool) -> None:
    if asked:
        print(f"fewshot {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Train and compare MAML, first-order MAML and Reptile on few-shot tasks."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def main() -> NoReturn:
    """Run the app; a wrong input is one line on stderr and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ± shows ?
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as error:
        code = _refuse(error.format_message(), error.exit_code)
    except UserError as error:
        code = _refuse(str(error), 2)
    except OSError as error:  # a full disk, a folder that went away
        code = _refuse(f"{error.filename or 'system'}: {error.strerror or error}", 1)
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read it went away, and nobody needs to hear of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _refuse(message: str, code: int) -> int:
    print(f"fewshot: {' '.join(message.split())}", file=sys.stderr)
    return code
