from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from fewshot_cli.inference.predictions import Predictions

SAID = Predictions(
    files=["cat/1.png", "dog/2.png", "3, b.png"],
    thumbnails={},
    probabilities=torch.tensor([[0.75, 0.25], [0.625, 0.375], [0.125, 0.875]]),
    classes=["cat", "dog"],
    left_out={},
)


def test_each_image_has_a_class_and_the_probability_of_each(tmp_path: Path) -> None:
    SAID.write(tmp_path / "predictions.csv")
    table = pd.read_csv(tmp_path / "predictions.csv")
    assert table.equals(SAID.table)
    assert list(table.columns) == ["file", "predicted", "probability", "cat", "dog"]
    assert table.values.tolist() == [
        ["cat/1.png", "cat", 0.75, 0.75, 0.25],
        ["dog/2.png", "cat", 0.625, 0.625, 0.375],
        ["3, b.png", "dog", 0.875, 0.125, 0.875],
    ]


def test_right_where_the_folder_names_a_class() -> None:
    assert SAID.right == [True, False, None]
