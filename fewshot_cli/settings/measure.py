"""What runs are judged by: the accuracy, or for regression the mean squared error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measure:
    """One number of a task, and how it is read.

    Attributes:
        name: its column in CSV files, and its key in summary.json.
        title: in words; that of the loss is of regression, where it is what a run is judged by.
        form: in tables, as Python's `format` takes it; `short` is for lines of progress.
    """

    name: str
    title: str
    higher_is_better: bool
    form: str
    short: str

    def goodness(self, value: float) -> float:
        """The higher, the better, whichever measure it is."""
        return value if self.higher_is_better else -value

    def shown(self, mean: float | None, ci95: float | None, form: str = "") -> str:
        """A mean and the half-width of its interval."""
        if mean is None:
            return "not finite"
        form = form or self.form
        return f"{mean:{form}}" + (f" ± {ci95:{form}}" if ci95 is not None else "")


ACCURACY = Measure("accuracy", "accuracy", higher_is_better=True, form=".2%", short=".1%")
RMSE = Measure(
    "rmse", "root mean squared error", higher_is_better=False, form=".4f", short=".3f"
)  # a task's own, beside LOSS
LOSS = Measure("loss", "mean squared error", higher_is_better=False, form=".4f", short=".3f")


def of(numbers: Mapping[str, Any]) -> Measure:
    """What a row of numbers is judged by: the accuracy, where it has one."""
    return LOSS if numbers.get(ACCURACY.name) in (None, "") else ACCURACY
