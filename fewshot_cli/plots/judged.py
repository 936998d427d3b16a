"""What `fewshot adapt` and `fewshot predict` leave and say of what they judged."""

from __future__ import annotations

from pathlib import Path

from fewshot_cli.compare import style
from fewshot_cli.inference.model import Model
from fewshot_cli.inference.of_rows import RowModel
from fewshot_cli.plots import contact_sheet
from fewshot_cli.progress import say
from fewshot_cli.runs.directory import new_name, shown

NAMED = 3  # files that could not be decoded or are unlike every class, of those that are said


def judge(model: Model | RowModel, query: Path, known: Path, out: Path | None) -> None:
    """Write predictions.csv, of images predictions.png too, and say how many were judged right.

    Args:
        known: what names the classes, the support folder or the model's file.

    Raises:
        UserError: there is no image that can be decoded, or the table cannot be used.
    """
    if isinstance(model, RowModel):
        _judge_rows(model, query, out)
        return
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


def _judge_rows(model: RowModel, query: Path, out: Path | None) -> None:
    predictions = model.predict(query)
    print(f"Judged {len(predictions.own)} rows, {model.way}")
    if predictions.right:
        print(_accuracy(predictions.right, "rows"))
    if (errors := predictions.errors) is not None:
        print(f"Root mean squared error {float(errors.mean().sqrt()):.4g} of {len(errors)} rows")
    folder = out or Path("outputs/predictions") / new_name()
    predictions.write(folder / "predictions.csv")
    print(f"Files: {shown(folder)}")


def _accuracy(right: list[bool], what: str) -> str:
    """With Wilson's interval over those whose class is known, all of one task."""
    from scipy.stats import binomtest

    low, high = binomtest(sum(right), len(right)).proportion_ci(method="wilson")
    mean = sum(right) / len(right)
    return (
        f"Accuracy {mean:.2%} of {len(right)} {what} of 1 task, "
        f"95 % interval {low:.2%} to {high:.2%}"
    )
