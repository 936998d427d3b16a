from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import sinusoids


def test_each_curve_of_the_file_is_one_sine_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["sinusoids", str(tmp_path / "s.csv"), "--curves", "30", "--points", "12"]
    monkeypatch.setattr(sys, "argv", words)
    sinusoids.main()
    table = pd.read_csv(tmp_path / "s.csv")
    assert list(table.columns) == ["curve", "x", "y"]
    waves = []
    for _, rows in table.groupby("curve"):
        assert len(rows) == 12
        # A sin(x - p) = a sin(x) + b cos(x): linear least squares finds A and p exactly.
        design = np.column_stack([np.sin(rows.x), np.cos(rows.x)])
        wave, *_ = np.linalg.lstsq(design, rows.y)
        np.testing.assert_allclose(design @ wave, rows.y, atol=1e-5)
        waves.append(wave)
    assert len(np.unique(np.round(waves, 3), axis=0)) == 30
