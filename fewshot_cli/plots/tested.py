"""What the pictures of a meta-test share: its files, its title, its images, names that fit."""

from __future__ import annotations

import typing
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path

from fewshot_cli.compare import style
from fewshot_cli.compare.tables import word
from fewshot_cli.runs.directory import RunDirectory, shown
from fewshot_cli.settings import compose
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config

if typing.TYPE_CHECKING:  # a table has no images, and its pictures need no torch
    import numpy as np

    from fewshot_cli.data.images.episodes import ImageTasks

WORDS = ["class", "judged_as", "group"]


class MetaTest:
    """A run or an evaluation that was meta-tested on classes.

    Raises:
        UserError: it is none, or is of a release that did not leave these files.
    """

    def __init__(self, path: Path) -> None:
        self.directory = RunDirectory(path)
        self.config: Config = compose.changed_config(self.directory.config, [], ())
        if self.config.data.regression:
            raise UserError(
                f"{shown(path)}: data={self.config.data.name} has no classes; expected a run of "
                "classification"
            )
        self.summary = self.directory.read(self.directory.summary)

    def read(self, path: Path, columns: list[str]) -> pd.DataFrame:
        """These columns of one of the directory's CSV files; names of classes may be any words."""
        where = shown(self.directory.path)
        if not path.is_file():
            raise UserError(
                f"{where}: has no {path.name}; expected a test that tells classes apart, such as "
                f"`fewshot evaluate {where}` leaves in {where}/evaluations"
            )
        try:
            table = pd.read_csv(
                path,
                usecols=columns,
                dtype=dict.fromkeys(WORDS, object),
                keep_default_na=False,  # a class may be called NA
                encoding_errors="surrogateescape",
            ).reindex(columns=columns)
            numbers = table.columns.difference(WORDS)
            table[numbers] = table[numbers].apply(pd.to_numeric)
        except (OSError, ValueError) as error:  # pandas' own are ValueErrors
            expected = ", ".join(columns)
            raise UserError(f"{path}: expected the columns {expected} ({error})") from error
        return table

    @property
    def title(self) -> str:
        config, test = self.config, self.summary["test"]
        steps = test["steps"][-1]["adaptation_steps"]
        kind = f"{config.ways}-way {config.shots}-shot"
        task = f"{config.shots} rows a task" if config.data.grouped else kind
        when = f" after {steps} step{'s' * (steps > 1)}" if steps else ""
        return (
            f"{config.algo.name} on {config.data.name}, {config.model.name}, {task}: "
            f"meta-test of {test['tasks']} tasks{when}"
        )

    def images(self) -> ImageTasks | None:
        """Where the images of the test are; None where the data has none.

        Raises:
            UserError: they are not there any more.
        """
        if not self.config.data.images:
            return None
        from fewshot_cli.data.images.episodes import ImageTasks
        from fewshot_cli.training.setup import device_and_data

        self.config.device = "cpu"
        _, source = device_and_data(self.config, ["test"])
        return source if isinstance(source, ImageTasks) else None

    def refuse_other_data(self, names: Sequence[str], there: Sequence[str]) -> None:
        """
        Raises:
            UserError: a class that was tested is not among those of the images that are there.
        """
        missing = sorted({*names} - {*there})
        if missing:
            raise UserError(
                f"{shown(self.directory.path)}: was tested on class {word(missing[0])}, which the "
                "data does not have there now; expected the same data"
            )


def sheet(width: float, height: float, left: float, title: str, line: str) -> tuple[Figure, Axes]:
    """An empty picture under a title and a line, measured in inches from its upper left corner."""
    figure = style.new(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    axes.axis("off")
    axes.text(left, 0.22, title, fontsize=11, va="center")
    axes.text(left, 0.5, line, fontsize=9, va="center")
    return figure, axes


def lines(name: str, points: float, inches: float) -> list[str]:
    """A class below its group, as a character below its alphabet, each on one line so wide."""
    group, _, own = name.rpartition("/")
    return [fit(part, points, inches) for part in (group, own) if part]


def fit(name: str, points: float, inches: float) -> str:
    """A name on one line so wide, cut in its middle, since the ends of names tell classes apart.

    To be drawn with `parse_math=False`: a $ is no formula.
    """
    line = whole = word(name)
    kept = len(whole)
    while _width(line, points) > inches and kept > 1:
        kept -= 1
        end = kept // 2
        line = f"{whole[: kept - end]}…{whole[len(whole) - end :]}"
    return line


def _width(line: str, points: float) -> float:
    """In inches."""
    font = FontProperties(size=points)
    with warnings.catch_warnings():
        # A letter that the font lacks becomes a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        width: float = text_to_path.get_text_width_height_descent(line, font, False)[0]
    return width / 72


def stamp(axes: Axes, pixels: np.ndarray, x: float, y: float, side: float, ink: bool) -> None:
    """An image `[C, S, S]`, uint8, in a frame with its upper left corner there.

    Args:
        ink: 255 is black in grey images.
    """
    look: dict[str, Any] = {"cmap": "gray_r" if ink else "gray", "vmin": 0, "vmax": 255}
    axes.imshow(pixels.transpose(1, 2, 0), extent=(x, x + side, y + side, y), **look)
    frame = Rectangle((x, y), side, side, fill=False, edgecolor="0.8", linewidth=0.5)
    axes.add_patch(frame)
