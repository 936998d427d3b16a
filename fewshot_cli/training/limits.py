"""What ends meta-training in order before its last iteration: the time, patience, a target."""

from __future__ import annotations

from fewshot_cli.settings.schema import Config

PRUNED = "pruned"  # what stands in a limit's place where a search gave the run up


def reached(config: Config, seconds: float, best: float | None, worse: int) -> str | None:
    """The limit that is reached, as it is typed: "limits.patience=3"; None where none is.

    Args:
        seconds: that the run has taken so far.
        best: goodness of its best meta-validation.
        worse: meta-validations since that one.
    """
    limits, goodness = config.limits, config.data.measure.goodness
    if limits.target is not None and best is not None and best >= goodness(limits.target):
        return f"limits.target={limits.target:g}"
    if limits.patience is not None and worse >= limits.patience:
        return f"limits.patience={limits.patience}"
    if limits.seconds is not None and seconds >= limits.seconds:
        return f"limits.seconds={limits.seconds:g}"
    return None
