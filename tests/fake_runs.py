"""Run directories as training leaves them, without the training."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fewshot_cli.runs.directory import COLUMNS

SETTINGS: dict[str, Any] = {
    "data": {"name": "glyphs", "kind": "glyphs", "classes": {"train": 1632}},
    "model": {"name": "mlp", "hidden": [64, 64]},
    "algo": {"name": "maml", "inner_lr": 0.4, "inner_steps": 1, "first_order": False},
    "eval": {"tasks": 8, "queries": 15, "seed": 0},
    "seed": 1,
    "ways": 5,
    "shots": 1,
    "device": "auto",
    "cache_dir": None,
}


def fake(
    path: Path,
    overrides: Mapping[str, Any] | None = None,
    accuracy: float = 0.8,
    *,
    status: str = "completed",
    error: str | None = None,
    tasks: int = 8,
    steps: int = 1,
    scored: Collection[int] | None = None,
) -> Path:
    """A run directory with these settings (by dotted key) and, step by step, rising accuracies.

    The test scored after `scored` steps, or after each. The mean after the last one is `accuracy`,
    and a little off it for each seed. The tasks are the same for all runs, some hard and some easy.
    """
    settings = json.loads(json.dumps(SETTINGS))
    for key, value in ({"eval.tasks": tasks} | dict(overrides or {})).items():
        *blocks, name = key.split(".")
        block = settings
        for each in blocks:
            block = block.setdefault(each, {})
        block[name] = value
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.dump(settings, sort_keys=False))
    (path / "status.json").write_text(json.dumps({"status": status, "error": error}))
    random = np.random.default_rng(len(str(settings["algo"])) * 1000 + settings["seed"])
    test = accuracy + np.linspace(-0.1, 0.1, tasks) + random.normal(0, 0.001, tasks)
    classes = settings["data"]["kind"] != "sinusoid"
    wanted = range(steps + 1) if scored is None else scored
    by_step = {step: test - 0.1 * (steps - step) for step in wanted}
    with (path / "metrics.csv").open("w", newline="") as file:
        rows = csv.DictWriter(file, COLUMNS, restval=0, lineterminator="\n")
        rows.writeheader()
        for iteration in (10, 20):
            rows.writerow({"iteration": iteration, "split": "valid", "accuracy": accuracy})
    if status == "completed":
        means = [
            {
                "adaptation_steps": step,
                "loss": 1.0,
                "accuracy": float(values.mean()) if classes else None,
            }
            for step, values in by_step.items()
        ]
        summary = {"test": {"tasks": tasks, "steps": means}, "seconds": 2.5}
        (path / "summary.json").write_text(json.dumps(summary))
        with (path / "test_tasks.csv").open("w", newline="") as file:
            file.write("task,adaptation_steps,loss,accuracy\n")
            for step, values in by_step.items():
                file.writelines(f"{task},{step},1.0,{each}\n" for task, each in enumerate(values))
    return path


def sweep(path: Path, seeds: int = 3, tasks: int = 8, steps: int = 1) -> Path:
    """Two algorithms at two inner rates; maml at 0.4 is the best, fomaml at 0.1 the worst."""
    number = 0
    for algo, first, loss in (("maml", False, 0.0), ("fomaml", True, 0.05)):
        for rate, less in ((0.4, 0.0), (0.1, 0.1)):
            chosen = {"algo.name": algo, "algo.first_order": first, "algo.inner_lr": rate}
            for seed in range(1, seeds + 1):
                chosen["seed"] = seed
                fake(path / str(number), chosen, 0.8 - loss - less, tasks=tasks, steps=steps)
                number += 1
    return path
