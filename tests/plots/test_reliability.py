from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from fewshot_cli.plots import reliability


def test_the_bars_are_the_accuracy_of_each_bin(letters: Path) -> None:
    figure = reliability.draw(letters)
    over, under = figure.axes
    table = pd.read_csv(letters / "test_calibration.csv")
    heights, shares = ([bar.get_height() for bar in axes.patches] for axes in (over, under))
    assert heights == pytest.approx(table.accuracy.tolist(), nan_ok=True)
    assert shares == pytest.approx((table.queries / table.queries.sum()).tolist())
    error = json.loads((letters / "summary.json").read_text())["test"]["expected_calibration_error"]
    assert over.get_title() == f"expected calibration error {error:.1%} (15 bins)"
