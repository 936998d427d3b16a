"""`fewshot predict`: images judged by an adapted model."""

from __future__ import annotations

from pathlib import Path

from fewshot_cli import applying
from fewshot_cli.applying.images import query_files
from fewshot_cli.applying.predictions import Predictions
from fewshot_cli.config import UserError
from fewshot_cli.pictures import contact_sheet
from fewshot_cli.progress import say
from fewshot_cli.reports import style
from fewshot_cli.runs.directory import new_name, shown

NAMED = 3  # files that could not be decoded, of those that are said


def predict(file: Path, query: Path, together: bool | None, device: str, out: Path | None) -> None:
    """Judge a folder with a model that `adapt` saved, and leave predictions.csv and .png.

    Args:
        together: all images in one batch; None: as the model was adapted.

    Raises:
        UserError: the file, the folder or an image is wrong; nothing was written.
    """
    query_files(query)
    model = applying.load(file, device)
    try:
        model = model if together is None else model.judging(together)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    leave(model.predict(query), model.transductive, out)


def leave(predictions: Predictions, together: bool, out: Path | None) -> None:
    """Write predictions.csv and predictions.png, and say how many images were judged right."""
    for place, (name, why) in enumerate(predictions.left_out.items()):
        if place == NAMED:
            say(f"fewshot: left out {len(predictions.left_out) - NAMED} files more")
            break
        say(f"fewshot: left out {name}: {why}")
    way = "all in one batch" if together else "each alone with the support set"
    print(f"Judged {len(predictions.files)} images, {way}")
    print(_accuracy([right for right in predictions.right if right is not None]), end="")
    folder = out or Path("outputs/predictions") / new_name()
    predictions.write(folder / "predictions.csv")
    style.save(contact_sheet.draw(predictions), folder / "predictions.png")
    print(f"Files: {shown(folder)}")


def _accuracy(right: list[bool]) -> str:
    """A line with Wilson's interval over the images whose class is known, all of one task."""
    if not right:
        return ""
    from scipy.stats import binomtest

    low, high = binomtest(sum(right), len(right)).proportion_ci(method="wilson")
    mean = sum(right) / len(right)
    return (
        f"Accuracy {mean:.2%} of {len(right)} images of 1 task, "
        f"95 % interval {low:.2%} to {high:.2%}\n"
    )
