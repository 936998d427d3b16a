"""The command line: verbs, flags and help. The work is in `commands/`, imported when asked."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
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
Run = Annotated[Path, typer.Argument(help="A run directory.", show_default=False)]
Runs = Annotated[list[Path], typer.Argument(help="Run directories.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", help="A file that ends in .png or .svg.")]


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
def evaluate(run: Run, overrides: Overrides = None) -> None:
    """Meta-test a run again, with other settings.

    fewshot evaluate outputs/runs/NAME eval.tasks=2000 algo.eval_steps=10

    fewshot evaluate outputs/runs/NAME data=omniglot data.root=DIR
    """
    from fewshot_cli.commands import evaluate as command

    command.evaluate(run, overrides or [])


plot = typer.Typer(help="Draw a picture of tasks or runs.", invoke_without_command=True)
app.add_typer(plot, name="plot")


@plot.callback()
def pictures(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@plot.command()
def episode(
    overrides: Overrides = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions", metavar="RUN", help="A run whose network predicts.", show_default=False
        ),
    ] = None,
    out: Out = Path("episode.png"),
) -> None:
    """Tasks: support and query sets of meta-train and meta-test.

    fewshot plot episode ways=10 shots=2

    fewshot plot episode --predictions outputs/runs/NAME --out episode.svg
    """
    from fewshot_cli.commands import plot as command

    command.episode(overrides or [], predictions, out)


@plot.command()
def paths(
    runs: Runs,
    plane: Annotated[str, typer.Option("--plane", help="pca or random.")] = "pca",
    out: Out = Path("paths.png"),
) -> None:
    """Weight space: the meta-parameters over training, and inner loops from there to some tasks.

    fewshot train data=sinusoid model=mlp record_paths=true

    fewshot plot paths outputs/runs/NAME
    """
    from fewshot_cli.commands import plot as command

    command.paths(runs, plane, out)


@plot.command()
def sinusoid(run: Run, out: Out = Path("sinusoid.png")) -> None:
    """Curves before adaptation and after 1, 5 and 10 steps.

    fewshot plot sinusoid outputs/runs/NAME
    """
    from fewshot_cli.commands import plot as command

    command.sinusoid(run, out)


@plot.command()
def curves(runs: Runs, out: Out = Path("curves.png")) -> None:
    """Loss and accuracy over training and over adaptation steps.

    fewshot plot curves outputs/runs/NAME outputs/runs/OTHER
    """
    from fewshot_cli.commands import plot as command

    command.curves(runs, out)


@app.command()
def compare(
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...", help="Runs, sweeps, or folders of them.", show_default=False
        ),
    ],
    columns: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="What to show: settings, or columns of the CSV."),
    ] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Least first, not the best first.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Only runs with this; may be given again."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="KEY=VALUE,...", help="Compare with this setting, not the best."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=0, help="Adaptation steps of the figures; else the last.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="- is the terminal.")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="- is the terminal.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="- is the terminal.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="DIR", help="Pictures, as PNG.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="One page with tables and pictures.")
    ] = None,
) -> None:
    """Average over seeds, and compare settings task by task.

    fewshot compare outputs/runs outputs/sweeps

    fewshot compare outputs/sweeps/NAME --where algo=maml --html page.html
    """
    from fewshot_cli.commands import compare as command

    command.compare(
        directories,
        command.Asked(columns, sort, where or [], baseline, steps, csv, json, markdown, plot, html),
    )


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
def data(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A folder with a folder per class.", show_default=False),
    ],
) -> None:
    """Look at a folder of your own images: classes, sizes, broken files, duplicates.

    fewshot data DIR

    fewshot train data=folder data.root=DIR
    """
    from fewshot_cli.commands import data as command

    command.data(folder)


Query = Annotated[Path, typer.Option("--query", metavar="DIR", help="Images to judge.")]
Into = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="Where predictions.csv and .png go.", show_default=False
    ),
]
Together = Annotated[
    bool | None,
    typer.Option(
        "--transductive/--one-by-one",
        help="All images in one batch, or each alone with the support set; else as the run was "
        "tested.",
        show_default=False,
    ),
]


@app.command()
def adapt(
    run: Run,
    support: Annotated[
        Path,
        typer.Option(
            "--support", metavar="DIR", help="A folder for each class, with an image or more."
        ),
    ],
    query: Query,
    overrides: Overrides = None,
    steps: Annotated[
        int | None, typer.Option(min=0, help="Adaptation steps; else those of the run's test.")
    ] = None,
    together: Together = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep the model: .pt for `fewshot predict`, .pt2 as a program of torch.export.",
            show_default=False,
        ),
    ] = None,
    out: Into = None,
) -> None:
    """Adapt a run to classes of your own, and judge images with it.

    The support folder may have more or fewer classes than the run's tasks had ways: MAML,
    first-order MAML, ANIL, Meta-SGD and Reptile then begin with a head whose rows are all the mean
    of those that they learned; fine-tuning always begins with a fresh one; prototypical networks
    need none. Where the query folder has the same folders of classes, the accuracy is shown.

    fewshot adapt outputs/runs/NAME --support SUPPORT --query QUERY

    fewshot adapt outputs/runs/NAME --support SUPPORT --query QUERY --steps 10 --save model.pt
    """
    from fewshot_cli.commands import adapt as command

    told = [f"algo.eval_steps={steps}"] if steps is not None else []
    told += [f"eval.transductive={together}"] if together is not None else []
    command.adapt(run, support, query, [*(overrides or []), *told], save, out)


@app.command()
def predict(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="What `fewshot adapt --save FILE` kept.", show_default=False
        ),
    ],
    query: Annotated[Path, typer.Argument(metavar="DIR", help="Images to judge.")],
    together: Together = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Into = None,
) -> None:
    """Judge images with an adapted model.

    A .pt2 file is a program: give only those that you trust.

    fewshot predict model.pt DIR
    """
    from fewshot_cli.commands import predict as command

    command.predict(model, query, together, device, out)


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
