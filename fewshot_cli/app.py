"""The command line: verbs, flags and help. The work is in `commands/`, imported when asked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from fewshot_cli import __version__

app = typer.Typer(
    name="fewshot",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    help="Train and compare MAML, first-order MAML and Reptile on few-shot tasks.",
)


def _complete(incomplete: str) -> list[str]:
    from fewshot_cli.commands.complete import overrides

    return overrides(incomplete)


def _version(asked: bool) -> None:
    if asked:
        print(f"fewshot {__version__}")
        raise typer.Exit


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[OVERRIDES]...",
        help="GROUP=CHOICE or KEY=VALUE, as in Hydra; `fewshot ls` shows the choices.",
        autocompletion=_complete,
        show_default=False,
    ),
]
ConfigDir = Annotated[
    Path | None,
    typer.Option("--config-dir", help="A folder with groups of your own.", show_default=False),
]


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def train(
    overrides: Overrides = None,
    multirun: Annotated[
        bool, typer.Option("-m", "--multirun", help="Run every combination of KEY=A,B,...")
    ] = False,
    config_dir: ConfigDir = None,
    cfg: Annotated[
        str | None,
        typer.Option("--cfg", metavar="job|hydra|all", help="Print the config and stop."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build everything, try one update, and stop.")
    ] = False,
    trust_config_dir: Annotated[
        bool,
        typer.Option("--trust-config-dir", help="Let its files set Hydra's own settings too."),
    ] = False,
) -> None:
    """Meta-train, meta-test, and leave a run directory.

    fewshot train algo=reptile

    fewshot train data=sinusoid model=mlp iterations=5000

    fewshot train -m algo=maml,fomaml,reptile seed=1,2,3
    """
    from fewshot_cli.commands import train as command

    command.train(overrides or [], multirun, config_dir, cfg, dry_run, trust_config_dir)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run directory.", show_default=False)],
    overrides: Overrides = None,
) -> None:
    """Meta-test a run again, with other settings.

    fewshot evaluate outputs/runs/NAME eval.tasks=2000 algo.eval_steps=10

    fewshot evaluate outputs/runs/NAME data=omniglot data.root=DIR
    """
    from fewshot_cli.commands import evaluate as command

    command.evaluate(run, overrides or [])


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="A run directory.", show_default=False)],
    overrides: Overrides = None,
) -> None:
    """Go on with a run that was stopped, or with a finished one for more iterations.

    fewshot resume outputs/runs/NAME

    fewshot resume outputs/runs/NAME iterations=60000
    """
    from fewshot_cli.commands import resume as command

    command.resume(run, overrides or [])


@app.command()
def reproduce(
    experiment: Annotated[
        str | None,
        typer.Argument(help="An experiment with published figures.", show_default=False),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Run a published experiment and compare; without a name, show which there are.

    fewshot reproduce sinusoid_maml compile=true

    fewshot reproduce omniglot_5w1s_maml_budget data.root=DIR
    """
    from fewshot_cli.commands import reproduce as command

    command.reproduce(experiment, overrides or [])


@app.command()
def ls(
    group: Annotated[
        str | None, typer.Argument(help="data, model, algo or experiment.", show_default=False)
    ] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Show what can be chosen in each group.

    fewshot ls algo
    """
    from fewshot_cli.commands import ls as command

    command.ls(group, config_dir)


def main() -> NoReturn:
    """Run the app; a wrong input is one line on stderr and exit status 2."""
    from fewshot_cli.config import UserError

    try:
        code = app(standalone_mode=False)
    except typer.TyperException as error:
        code = _refuse(error.format_message(), error.exit_code)
    except UserError as error:
        code = _refuse(str(error), 2)
    except OSError as error:  # a full disk, a folder that went away
        code = _refuse(f"{error.filename or 'system'}: {error.strerror or error}", 1)
    sys.exit(code)


def _refuse(message: str, code: int) -> int:
    print(f"fewshot: {' '.join(message.split())}", file=sys.stderr)
    return code
