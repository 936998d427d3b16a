"""`fewshot plot`: one picture a function; a wrong file name is refused before anything is drawn."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from fewshot_cli import compose
from fewshot_cli.config import UserError
from fewshot_cli.identity import may_change
from fewshot_cli.kinds import nearest
from fewshot_cli.reports import style
from fewshot_cli.runs.directory import RunDirectory, shown

PLANES = ("pca", "random")


def episode(overrides: list[str], predictions: Path | None, out: Path) -> None:
    """Support and query sets of some tasks.

    Args:
        predictions: a run whose checkpoint predicts; its config is what the overrides change.

    Raises:
        UserError: an override, the run or the file is wrong, or the data has no images.
    """
    style.check(out)
    if predictions is None:
        config = compose.job_config(overrides)
    else:
        saved = RunDirectory(predictions).config
        config = compose.changed_config(saved, overrides, may_change("evaluate"))
    if config.data.regression:
        raise UserError(f"data={config.data.name}: has no images; see `fewshot plot sinusoid`")

    from fewshot_cli.pictures import episode as picture
    from fewshot_cli.pictures.trained import restored
    from fewshot_cli.training.setup import prepare

    setup = prepare(config) if predictions is None else restored(predictions, config)
    _save(picture.draw(setup, predicts=predictions is not None), out)


def paths(runs: list[Path], plane: str, out: Path) -> None:
    """Paths in weight space, a column a run.

    Raises:
        UserError: a run, the plane or the file is wrong.
    """
    style.check(out)
    if plane not in PLANES:
        raise UserError(f"--plane {plane}: expected {nearest(plane, PLANES)}")

    from fewshot_cli.pictures import paths as picture

    _save(picture.draw(runs, plane), out)


def sinusoid(run: Path, out: Path) -> None:
    """Curves before and after adaptation.

    Raises:
        UserError: the run or the file is wrong.
    """
    style.check(out)

    from fewshot_cli.pictures import sinusoid as picture

    _save(picture.draw(run), out)


def curves(runs: list[Path], out: Path) -> None:
    """Loss and accuracy of runs.

    Raises:
        UserError: a run or the file is wrong.
    """
    style.check(out)

    from fewshot_cli.pictures import curves as picture

    _save(picture.draw(runs), out)


def _save(picture: Figure, out: Path) -> None:
    style.save(picture, out)
    print(f"Picture: {shown(out)}")
