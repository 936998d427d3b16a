from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers import TINY, config
from matplotlib.container import ErrorbarContainer

from fewshot_cli.plots import curves
from fewshot_cli.runs.directory import COLUMNS, RunDirectory
from fewshot_cli.settings.errors import UserError
from fewshot_cli.training.run import run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    for algo in ("maml", "scratch"):
        chosen = config(f"algo={algo}", "model=mlp", *TINY)
        chosen.cache_dir = str(cache_dir)
        run(chosen, RunDirectory(folder / algo))
    return [folder / "maml", folder / "scratch"]


def test_every_figure_of_metrics_csv_is_drawn(runs: list[Path]) -> None:
    figure = curves.draw(runs[:1])
    table = pd.read_csv(runs[0] / "metrics.csv")
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "", "accuracy, %", ""]
    for row, (measure, unit) in enumerate([("loss", 1), ("accuracy", 100)]):
        training, adaptation = figure.axes[2 * row : 2 * row + 2]
        train, valid, test = (table[table.split == s] for s in ("train", "valid", "test"))
        band = training.lines[0].get_xydata()
        assert band[:, 0].tolist() == train.iteration.tolist()
        assert band[:, 1].tolist() == pytest.approx((train[measure] * unit).tolist())
        for axes, rows, over in (
            (training, valid, "iteration"),
            (adaptation, test, "adaptation_steps"),
        ):
            (bars,) = axes.containers
            assert isinstance(bars, ErrorbarContainer)
            assert list(bars[0].get_xdata()) == rows[over].tolist()
            assert list(bars[0].get_ydata()) == pytest.approx((rows[measure] * unit).tolist())
            (low, high) = bars[2][0].get_segments()[-1][:, 1]
            width = rows[f"{measure}_ci95"].iloc[-1] * unit
            assert high - low == pytest.approx(2 * width)


def test_runs_are_told_apart_and_named(runs: list[Path]) -> None:
    figure = curves.draw(runs)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(map(str, runs))
    looks = {(line.get_color(), line.get_marker()) for line in legend.get_lines()}
    assert len(looks) == 2


def test_torch_is_not_needed(runs: list[Path], tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fewshot_cli.plots.curves import curves; "
        "curves([Path(sys.argv[1])], Path('c.svg')); sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(runs[0])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "c.svg").read_text().startswith("<?xml")


def test_regression_has_no_accuracy_and_is_not_mixed_with_classes(
    runs: list[Path], tmp_path: Path
) -> None:
    run(config("data=sinusoid", "model=mlp", *TINY, "ways=1"), RunDirectory(tmp_path))
    assert len(curves.draw([tmp_path]).axes) == 2
    with pytest.raises(UserError, match=rf"{tmp_path}: has another kind of loss"):
        curves.draw([*runs, tmp_path])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"expected a run directory, which has a metrics\.csv"),
        (b"", r"metrics\.csv: expected a CSV file"),
        (b"a,b\n1,2\n", r"metrics\.csv: expected the columns iteration, split"),
        (b"\xff\xfe\x00", r"metrics\.csv: expected "),
        (",".join([*COLUMNS, "\n"]).encode(), r"metrics\.csv: expected the columns"),
        (f"{','.join(COLUMNS)}\n1,train,x\n".encode(), r"metrics\.csv: expected a CSV file .*x"),
    ],
)
def test_what_is_no_metrics_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        curves.draw([tmp_path])


def test_a_run_that_has_just_begun_is_refused(tmp_path: Path) -> None:
    RunDirectory(tmp_path).begin(config("model=mlp"))
    with pytest.raises(UserError, match=r"has no row yet"):
        curves.draw([tmp_path])


@pytest.mark.parametrize("far", [float("inf"), float("nan"), 1e30])
def test_a_loss_far_beyond_the_others_leaves_them_in_sight(
    runs: list[Path], tmp_path: Path, far: float
) -> None:
    table = pd.read_csv(runs[0] / "metrics.csv")
    highest = float(table.loss.max())
    table.loc[[1, len(table) - 1], ["loss", "loss_ci95"]] = far
    table.to_csv(tmp_path / "metrics.csv", index=False)
    low, high = curves.draw([tmp_path]).axes[0].get_ylim()
    assert 0 < low < float(table.loss.min())
    assert highest < high < 150 * highest


def test_a_sweep_folder_is_its_jobs(runs: list[Path], tmp_path: Path) -> None:
    curves.curves([runs[0].parent], tmp_path / "sweep.svg")
    curves.curves(runs, tmp_path / "jobs.svg")
    assert (tmp_path / "sweep.svg").read_bytes() == (tmp_path / "jobs.svg").read_bytes()
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match=r"nothing: no run in it"):
        curves.curves([tmp_path / "nothing"], tmp_path / "none.svg")
    assert len({curves._look(number) for number in range(curves.MOST)}) == curves.MOST
    with pytest.raises(UserError, match=rf"^{curves.MOST + 1} runs: expected at most"):
        curves.curves([runs[0]] * (curves.MOST + 1), tmp_path / "many.svg")


def test_labels_of_neighbouring_panels_do_not_touch(runs: list[Path]) -> None:
    figure = curves.draw(runs)
    for axes in figure.axes[::2]:
        axes.set_xlim(0, 100_000)
    figure.draw_without_rendering()
    for left, right in zip(figure.axes[::2], figure.axes[1::2], strict=True):
        one, other = (axes.get_tightbbox() for axes in (left, right))
        assert one is not None
        assert other is not None
        assert other.x0 - one.x1 > 0.1 * figure.dpi  # inches
