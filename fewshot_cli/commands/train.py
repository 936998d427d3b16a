"""`fewshot train`: check the overrides, then run the job or the sweep.

Raises UserError where an override, the data or the device is wrong, before a run begins, and
SystemExit with 1 where a job failed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from omegaconf import OmegaConf

from fewshot_cli.arguments import ConfigDir, Json, Overrides
from fewshot_cli.runs import as_json, ranks, result
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.runs.place import place, spelled_out
from fewshot_cli.settings import compose, hydra_private
from fewshot_cli.settings.errors import UserError, nearest
from fewshot_cli.settings.schema import recorded
from fewshot_cli.sweeps.job import job
from fewshot_cli.sweeps.launch import look_at_needs

CFG = ("job", "hydra", "all")
LONGEST = {"tag": 64, "notes": 2000, "group": 128}  # W&B takes no longer tags and groups


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
        bool, typer.Option("--dry-run", help="Build all, try some updates, say what the run takes.")
    ] = False,
    trust_config_dir: Annotated[
        bool,
        typer.Option("--trust-config-dir", help="Let its files set Hydra's own settings too."),
    ] = False,
    leave_jobs: Annotated[
        bool, typer.Option("--leave-jobs", help="On Ctrl-C, leave a sweep's jobs in SLURM's queue.")
    ] = False,
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="To find the run by; may be given again."),
    ] = None,
    notes: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the run is about.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Of runs that belong together; else a sweep's name."),
    ] = None,
    json: Json = None,
) -> None:
    """Meta-train, meta-test, and leave a run directory.

    fewshot train algo=reptile

    fewshot train data=sinusoid model=mlp iterations=5000

    fewshot train -m algo=maml,fomaml,reptile seed=1,2,3

    fewshot train algo=reptile --tag baseline --notes "The rate of the paper"
    """
    overrides = [*spelled_out(overrides or []), *_labels(tag, notes, group)]
    if cfg is not None and cfg not in CFG:
        raise UserError(f"--cfg {cfg}: expected {nearest(cfg, CFG)}")
    if cfg is not None and multirun:
        raise UserError("--cfg: shows the config of one run; expected no --multirun beside it")
    if json is not None and (multirun or cfg is not None or dry_run):
        raise UserError(
            f"--json {json}: is the table at a run's end; expected no -m (`fewshot compare DIR "
            "--json FILE` does that), --cfg or --dry-run beside it"
        )
    if multirun:
        if (here := ranks.place(None)) is not None:
            raise UserError(
                f"-m: {here.starter} starts {here.size} processes of one run; expected a sweep "
                "without it, with ranks= for each job"
            )
        from fewshot_cli.sweeps.sweep import sweep

        jobs = compose.jobs(overrides, config_dir, trust_config_dir)
        sweep(jobs, overrides, config_dir, dry_run, leave_jobs)
        return
    with compose.explained(config_dir):
        where, overrides = place(overrides, "run")
    single = compose.single(overrides, config_dir, trust_config_dir)
    if cfg is not None:
        _show(single, cfg)
    elif dry_run:
        from fewshot_cli.training.dry_run import dry_run as try_out

        print(try_out(single.config))
    else:
        here = ranks.place(single.config.ranks)
        if here is not None and here.rank:
            from fewshot_cli.training.ranks import follow

            follow(single.config, here)
            return
        look_at_needs([single.config])
        _reserve(where, goes_on=here is not None and here.again)
        with compose.initialize():
            hydra_private.run(job, single.composed)
        directory = RunDirectory(where)
        with as_json.in_place(json):
            result.show(directory)
        as_json.leave(json, result.content(directory))


def _labels(tags: list[str] | None, notes: str | None, group: str | None) -> list[str]:
    """The overrides that set labels, which are free text."""
    given = {"tag": tags, "notes": [notes], "group": [group]}
    for option, texts in given.items():
        for text in texts or []:
            if text is None:
                continue
            if "${" in text or not text.strip():
                raise UserError(f"--{option} {text}: expected text, without the ${{ of references")
            if len(text) > LONGEST[option]:
                raise UserError(f"--{option}: expected at most {LONGEST[option]} letters")
    words = [f"tags=[{','.join(map(compose.quoted, tags))}]"] if tags else []
    words += [] if notes is None else [f"notes={compose.quoted(notes)}"]
    return words + ([] if group is None else [f"group={compose.quoted(group)}"])


def _show(single: compose.Single, cfg: str) -> None:
    """Print what a run records of its settings, or Hydra's own settings, or both."""
    ours = OmegaConf.create(recorded(single.config))
    theirs = OmegaConf.masked_copy(single.composed, "hydra")
    shown = {"job": [ours], "hydra": [theirs], "all": [theirs, ours]}[cfg]
    print("".join(map(OmegaConf.to_yaml, shown)), end="")


def _reserve(where: Path, goes_on: bool) -> None:
    """Make the folder, which must be empty: no run goes where another one is.

    Args:
        goes_on: torchrun or SLURM starts a run once more, which is there.
    """
    try:
        where.mkdir(parents=True, exist_ok=True)
        if any(where.iterdir()) and not goes_on:
            raise UserError(f"{where}: already holds something; expected a new or empty folder")
    except OSError as error:
        why = error.strerror or error
        raise UserError(f"{where}: {why}; expected a folder that can be made") from error
