"""TensorBoard: `tensorboard --logdir outputs` shows the curves (pytorch.org/docs, tensorboard)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fewshot_cli.runs.directory import Metrics
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import Config
from fewshot_cli.trackers import measured


class TensorBoard:
    """Curves over iterations; of the meta-test, over adaptation steps."""

    def __init__(self, path: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(path / "tensorboard"))

    def add(self, rows: Sequence[Metrics]) -> None:
        for row in rows:
            x = row.adaptation_steps if row.split == "test" else row.iteration
            for name, value in measured(row).items():
                self.writer.add_scalar(name, value, x)
        self.writer.flush()

    def close(self, status: str, why: str | None) -> None:
        self.writer.add_text("status", f"{status}: {why}" if why else status)
        self.writer.close()


def start(config: Config, path: Path) -> TensorBoard:
    try:
        return TensorBoard(path)
    except ImportError as error:
        raise UserError(
            "tracker=tensorboard: not installed; expected pip install 'fewshot[tensorboard]'"
        ) from error
