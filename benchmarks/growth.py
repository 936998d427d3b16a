"""How the cost of a meta-update grows with tasks, inner steps, ways and channels; a plot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from benchmarks import rivals
from benchmarks.contest import contest, report
from benchmarks.speed import chunk_of, draw, network, ours
from fewshot_cli.settings.compose import job_config

BASE = {"tasks": 16, "inner steps": 1, "ways": 5, "channels": 64}
RANGES = {
    "tasks": (1, 4, 16, 64, 256),
    "inner steps": (1, 2, 5, 10, 20),
    "ways": (5, 10, 20, 50),
    "channels": (16, 32, 64, 128),
}


def main(out: Path) -> None:
    rows = [row for axis, values in RANGES.items() for row in along(axis, values)]
    report(rows, "MAML with CNN-4, 1 shot, 1 query, milliseconds a meta-update", out / "growth.csv")
    plot(pd.DataFrame(rows), out / "growth.png")


def along(axis: str, values: tuple[int, ...]) -> Iterator[dict[str, object]]:
    for value in values:
        at = BASE | {axis: value}
        config = job_config(
            [
                *(f"ways={at['ways']}", f"model.channels={at['channels']}"),
                f"algo.inner_steps={at['inner steps']}",
            ]
        )
        batch = draw(config, at["tasks"], queries=1)
        loop = rivals.maml_loop(
            network(config, batch),
            rivals.tasks_in_memory(batch).copy,
            lr=0.4,
            steps=at["inner steps"],
            first_order=False,
        )
        sides = {"fewshot": ours(config, batch, chunk_of(config, batch)), "learn2learn": loop}
        times = contest(sides, rounds=3)
        yield {
            "axis": axis,
            "value": value,
            **times,
            "ratio": times["learn2learn"] / times["fewshot"],
        }


def plot(table: pd.DataFrame, file: Path) -> None:
    figure, panels = plt.subplots(
        1, len(RANGES), figsize=(13, 3.6), sharey=True, layout="constrained"
    )
    for panel, axis in zip(panels, RANGES, strict=True):
        rows = table[table["axis"] == axis]
        for side, marker in (("learn2learn", "s"), ("fewshot", "o")):
            panel.loglog(rows["value"], rows[side], marker=marker, label=side)
        panel.set_xticks(rows["value"], [str(value) for value in rows["value"]])
        panel.minorticks_off()
        panel.set_xlabel(axis)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("ms a meta-update")
    panels[0].legend()
    figure.savefig(file, dpi=120)
    print(f"Picture: {file}")
