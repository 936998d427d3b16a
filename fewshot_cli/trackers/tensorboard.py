"""TensorBoard: `tensorboard --logdir outputs` shows the curves (pytorch.org/docs, tensorboard)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from fewshot_cli.runs.directory import Metrics
from fewshot_cli.settings.schema import Config
from fewshot_cli.trackers import axis, goes_on_after, measured, settings


class TensorBoard:
    """Curves over iterations; of the meta-test, over adaptation steps."""

    def __init__(self, config: Config, path: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        last = goes_on_after(path)
        # What a killed process wrote after its last checkpoint comes again.
        purge = None if last is None else last + 1
        self.writer = SummaryWriter(str(path / "tensorboard"), purge_step=purge)
        if told := settings(path):
            text = yaml.safe_dump(told, sort_keys=False, allow_unicode=True)
            self.writer.add_text("config", f"```yaml\n{text}```")

    def add(self, rows: Sequence[Metrics]) -> None:
        for row in rows:
            _, x = axis(row)
            for name, value in measured(row).items():
                self.writer.add_scalar(name, value, x)
        self.writer.flush()

    def show(self, name: str, file: Path) -> None:
        if file.suffix == ".csv":
            with file.open(encoding="utf-8", newline="") as lines:
                head, *rows = csv.reader(lines)
            table = [head, ["---"] * len(head), *rows]
            self.writer.add_text(name, "\n".join(f"| {' | '.join(row)} |" for row in table))
        else:
            with Image.open(file) as picture:
                self.writer.add_image(name, np.asarray(picture.convert("RGB")), dataformats="HWC")

    def close(self, status: str, why: str | None) -> None:
        self.writer.add_text("status", f"{status}: {why}" if why else status)
        self.writer.close()


def check(config: Config) -> None:
    import torch.utils.tensorboard  # noqa: F401


def start(config: Config, path: Path) -> TensorBoard:
    return TensorBoard(config, path)
