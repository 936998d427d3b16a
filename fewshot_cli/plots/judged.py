"""What `fewshot adapt` and `fewshot predict` leave and say of what they judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fewshot_cli.compare import style
from fewshot_cli.inference.model import Model
from fewshot_cli.inference.of_rows import RowModel
from fewshot_cli.plots import contact_sheet
from fewshot_cli.progress import say
from fewshot_cli.runs.directory import new_name, shown

NAMED = 3  # files that could not be decoded or are unlike every class, of those that are said


def judge(model: Model | RowModel, query: Path, known: Path, out: Path | None) -> dict[str, Any]:
    """Write predictions.csv, of images predictions.png too, and say how many were judged right.

    Args:
        known: what names the classes, the support folder or the model's file.

    Returns:
        The same for scripts: the folder, the accuracy or the error if known, and the rows of
        predictions.csv.

    Raises:
        UserError: there is no image that can be decoded, or the table cannot be used.
    """
    if isinstance(model, RowModel):
        return _judge_rows(model, query, out)
    predictions = model.predict(query)
    for place, (name, why) in enumerate(predictions.left_out.items()):
        if place == NAMED:
            say(f"fewshot: left out {len(predictions.left_out) - NAMED} files more")
            break
        say(f"fewshot: left out {name}: {why}")
    print(f"Judged {len(predictions.files)} images, {model.way}")
    right = [right for right in predictions.right if right is not None]
    unknown = len(predictions.files) - len(right)
    if right:
        print(_accuracy(right, "images"))
        if unknown:
            print(f"{unknown} images are in no folder that is named as a class of {shown(known)}")
    elif query.is_dir():
        print(
            f"No folder below {shown(query)} is named as a class of {shown(known)}, "
            "so there is no accuracy"
        )
    for name, own in list(predictions.unlike.items())[:NAMED]:
        print(f"Unlike every class: {name} ({own:.2f} of the distance that support images keep)")
    if len(predictions.unlike) > NAMED:
        print(f"Unlike every class: {len(predictions.unlike) - NAMED} images more")
    folder = out or Path("outputs/predictions") / new_name()
    predictions.write(folder / "predictions.csv")
    style.save(contact_sheet.draw(predictions), folder / "predictions.png")
    print(f"Files: {shown(folder)}")
    return {
        "folder": str(shown(folder)),
        "accuracy": sum(right) / len(right) if right else None,
        "left_out": predictions.left_out,
        "rows": predictions.table.to_dict("records"),
    }


def _judge_rows(model: RowModel, query: Path, out: Path | None) -> dict[str, Any]:
    predictions = model.predict(query)
    print(f"Judged {len(predictions.own)} rows, {model.way}")
    right, errors, rmse = predictions.right, predictions.errors, None
    if right:
        print(_accuracy(right, "rows"))
    if errors is not None:
        rmse = float(errors.mean().sqrt())
        print(f"Root mean squared error {rmse:.4g} of {len(errors)} rows")
    folder = out or Path("outputs/predictions") / new_name()
    predictions.write(folder / "predictions.csv")
    print(f"Files: {shown(folder)}")
    return {
        "folder": str(shown(folder)),
        "accuracy": sum(right) / len(right) if right else None,
        "rmse": rmse,
        "rows": predictions.table.to_dict("records"),
    }


def _accuracy(right: list[bool], what: str) -> str:
    """With Wilson's interval over those whose class is known, all of one task."""
    from scipy.stats import binomtest

    low, high = binomtest(sum(right), len(right)).proportion_ci(method="wilson")
    mean = sum(right) / len(right)
    return (
        f"Accuracy {mean:.2%} of {len(right)} {what} of 1 task, "
        f"95 % interval {low:.2%} to {high:.2%}"
    )
