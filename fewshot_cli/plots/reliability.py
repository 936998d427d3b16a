"""`fewshot plot reliability`: whether a model that is 80 % sure is right 80 % of the time.

Raises UserError where the run or the file is wrong.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fewshot_cli.arguments import Picture, Run, Track
from fewshot_cli.compare import style
from fewshot_cli.plots.destination import Destination
from fewshot_cli.plots.tested import MetaTest

COLUMNS = ["confidence_from", "confidence_to", "queries", "confidence", "accuracy"]
LIGHT = style.COLOURS[5]  # that lines can be seen on


def reliability(run: Run, out: Picture = Path("reliability.png"), track: Track = False) -> None:
    """How often a meta-test's answers are right, by how sure they are (Guo et al. 2017).

    fewshot plot reliability outputs/runs/NAME
    """
    destination = Destination(out, [run], track)
    destination.leave(draw(run))


def draw(run: Path) -> Figure:
    """Accuracy by confidence above, the share of the queries below.

    Raises:
        UserError: the run was not tested on classes.
    """
    tested = MetaTest(run)
    table = tested.read(tested.directory.test_calibration, COLUMNS)
    figure = style.new(6.4, 5.6)
    over, under = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    left, width = table.confidence_from, table.confidence_to - table.confidence_from
    look = {"align": "edge", "edgecolor": "white", "linewidth": 0.5}
    over.bar(left, table.accuracy, width, color=LIGHT, label="accuracy", **look)
    over.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1, label="perfect calibration")
    gaps = table[table.queries > 0]
    dark = style.COLOURS[1]
    ends = gaps.confidence, gaps.accuracy, gaps.confidence
    over.vlines(*ends, color=dark, linewidth=2, label="gap to the mean confidence")
    over.plot(*ends[:2], "o", color=dark, markersize=4, clip_on=False)
    over.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    error = tested.summary["test"].get("expected_calibration_error")
    known = "not finite" if error is None else f"{error:.1%}"
    over.set_title(f"expected calibration error {known} ({len(table)} bins)", fontsize=10)
    share = table.queries / table.queries.sum()
    under.bar(left, share, width, color=LIGHT, **look)
    under.set(xlabel="confidence: the probability of the class that was judged", ylabel="queries")
    for axis in (over.yaxis, under.yaxis, under.xaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    for axes in (over, under):
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    figure.suptitle(tested.title.replace(": ", "\n"), fontsize=11)
    return figure
