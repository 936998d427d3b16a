from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fewshot_cli.compare import style
from fewshot_cli.inference.least_sure import LeastSure
from fewshot_cli.inference.predictions import Predictions
from fewshot_cli.plots import contact_sheet


def said(images: int, classes: int) -> Predictions:
    """Image 3 is taken for class 3 % N, with a probability of 0.53."""
    probabilities = torch.full((images, classes), 0.0)
    for image in range(images):
        probabilities[image, image % classes] = 0.5 + image / 100
    files = [f"c{image % 2}/{image}.png" for image in range(images)]
    sheet = LeastSure()
    sheet.add(torch.zeros(images, 3, 4, 4, dtype=torch.uint8), probabilities)
    names = [f"c{n}" for n in range(classes)]
    return Predictions(files, sheet.thumbnails, probabilities, names, {})


def words(predictions: Predictions) -> list[str]:
    (axes,) = contact_sheet.draw(predictions).axes
    return [text.get_text() for text in axes.texts]


def test_images_stand_under_their_class_the_least_sure_first() -> None:
    assert words(said(images=5, classes=3)) == [
        *("c0 (2)", "✓ 50%", "✗ 53%"),
        *("c1 (2)", "✓ 51%", "✗ 54%"),
        *("c2 (1)", "✗ 52%"),
    ]


def test_of_many_images_some_are_shown() -> None:
    shown = words(said(images=49, classes=2))
    assert shown[0] == "c0 (25, the 20 least sure)"
    assert len(shown) == 2 * 21


def test_of_many_classes_some_are_shown() -> None:
    shown = words(said(images=42, classes=42))
    assert shown[-1] == "and 2 classes more"
    assert len(shown) == 2 * 40 + 1


def test_names_of_any_letters(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    predictions = said(images=2, classes=2)
    predictions.classes[:] = ["$x_", "猫"]
    style.save(contact_sheet.draw(predictions), tmp_path / "sheet.png")
    assert not recwarn.list


def test_an_image_in_no_class_folder_is_neither_right_nor_wrong() -> None:
    predictions = said(images=2, classes=2)
    predictions.files[0] = "loose.png"
    assert words(predictions)[1] == "50%"
