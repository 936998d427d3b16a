from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import config, little_folder

from benchmarks import features
from fewshot_cli.data import table
from fewshot_cli.settings.errors import UserError


def test_features_of_a_folder_are_tasks_of_the_same_classes(
    tmp_path: Path, cache_dir: Path
) -> None:
    root = little_folder(tmp_path / "photos", classes=9)
    words = [f"data.root='{root}'", f"cache_dir='{cache_dir}'", "model.image_size=32", "ways=2"]
    features.write(tmp_path / "f.npz", words)
    with np.load(tmp_path / "f.npz") as found:
        assert len(found["x"]) == len(found["y"]) == len(found["split"]) == 162
    chosen = config(
        "data=table", f"data.root='{tmp_path / 'f.npz'}'", "data.split=split", "model=mlp"
    )
    source = table.load(chosen.data, "", torch.device("cpu"))
    names = {name for classes in source.sizes.values() for name in classes}
    assert names == {f"gruppe {number % 3}/klasse ä{number}" for number in range(9)}
    assert [len(classes) for classes in source.sizes.values()] == [5, 2, 2]
    with pytest.raises(UserError, match=r"^model=lite0: is not frozen; expected model.freeze=all"):
        features.write(tmp_path / "f.npz", [*words, "model.freeze=none", "algo=protonet"])
