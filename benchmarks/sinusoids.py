"""The curves of `data=sinusoid` as a CSV file for `data=table`: a row is a point of a curve.

    python -m benchmarks.sinusoids sinusoids.csv

The same curves and points each time; the file has the columns curve, x and y.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import torch

from fewshot_cli.data.sinusoid import Sinusoids
from fewshot_cli.data.task import TaskShape

CURVES, POINTS = 20_000, 40


def table(curves: int, points: int) -> pd.DataFrame:
    draws = torch.Generator().manual_seed(0)
    drawn = Sinusoids(torch.device("cpu")).sample("", curves, TaskShape(1, points, 0), draws)
    return pd.DataFrame(
        {
            "curve": torch.arange(curves).repeat_interleave(points).numpy(),
            "x": drawn.support_x.flatten().numpy(),
            "y": drawn.support_y.flatten().numpy(),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="write sinusoids as a CSV file for data=table")
    parser.add_argument("file", type=Path)
    parser.add_argument("--curves", type=int, default=CURVES)
    parser.add_argument("--points", type=int, default=POINTS, help="of each curve")
    given = parser.parse_args()
    table(given.curves, given.points).to_csv(given.file, index=False)


if __name__ == "__main__":
    main()
