"""Whatever the data: resume, sweeps, identity, comparison and a tracker, by the real commands."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers import TINY, choosing, commands, little_table, names, outcome
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytestmark = pytest.mark.slow

GROUPS = {  # the same table, whose species are tasks by name
    "table of numbers": ["data.task=species", "data.target=width", "ways=1"],
    "table of shared classes": ["data.task=species", "data.label=colour", "ways=1"],
}
SOURCES = [*(name for name in names("data") if "omniglot" not in name), *GROUPS]


def words(source: str, folder: Path) -> list[str]:
    if source in GROUPS:
        return [*TINY, "data=table", f"data.root='{little_table(folder)}'", *GROUPS[source]]
    return [*TINY, *choosing(source, folder)]


@pytest.mark.parametrize("source", SOURCES)
def test_a_run_goes_on_and_a_sweep_is_compared(
    tmp_path: Path, cache_dir: Path, source: str
) -> None:
    chosen = words(source, cache_dir.parent)
    trust = [word for word in chosen if word == "data.trust=true"]
    setting = [*chosen, "model=mlp", "algo=maml", "algo.meta_schedule=constant", "threads=1"]
    sweep = ["train", "-m", *setting, "seed=2,3", "sweep.dir=s"]
    lines = [
        ["train", *setting, "run.dir=whole", "tracker=tensorboard"],
        ["train", *setting, "run.dir=parts", "iterations=2"],
        ["resume", "parts", "iterations=4", *trust],
        sweep,
        ["compare", "s", "whole", "--csv", "table.csv"],
    ]
    commands(tmp_path, lines, FEWSHOT_CACHE=str(cache_dir))
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")

    jobs = sorted((tmp_path / "s").glob("*/summary.json"))
    written = [path.stat().st_mtime_ns for path in jobs]
    assert len(jobs) == 2
    assert "2 jobs are complete already" in commands(
        tmp_path, [sweep], FEWSHOT_CACHE=str(cache_dir)
    )
    assert [path.stat().st_mtime_ns for path in jobs] == written

    (row,) = pd.read_csv(tmp_path / "table.csv").to_dict("records")  # one setting, three seeds
    assert row["seeds"] == 3
    kept = yaml.safe_load((tmp_path / "whole" / "config.yaml").read_text())["data"]
    assert (kept.get("root") or kept.get("module")) is None or kept["fingerprint"]

    (events,) = (tmp_path / "whole").rglob("events.out.*")
    read = EventAccumulator(str(events))
    read.Reload()
    rows = pd.read_csv(tmp_path / "whole" / "metrics.csv")
    valid = rows[rows.split == "valid"]
    told = [event.value for event in read.Scalars("valid/loss")]
    assert told == pytest.approx(valid.loss.tolist(), rel=1e-6)
