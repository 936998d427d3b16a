"""Models as ONNX files, run by onnxruntime."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import photographs, untrained

from fewshot_cli.inference import Model, RowModel, adapt, load, save, saved
from fewshot_cli.settings.errors import UserError

PAGE = Path(__file__).parents[2] / "docs" / "photographs.md"
SMALL = ["model.channels=8", "data.image_size=32", "data.colour=rgb", "data.invert=false"]


@pytest.fixture
def model(tmp_path: Path, own_cache: None) -> Model:
    """Of patches of a photograph, four classes of them."""
    root = photographs(tmp_path / "photos", across=6)
    run = untrained(tmp_path / "run", "data=folder", f"data.root='{root}'", *SMALL)
    support = tmp_path / "support"
    for folder in sorted(root.glob("*/*"))[:4]:
        for file in sorted(folder.iterdir())[:3]:
            (support / folder.name).mkdir(parents=True, exist_ok=True)
            file.rename(support / folder.name / file.name)
    return adapt(run, support, ["algo.eval_steps=3", "algo.inner_lr=0.4"])


@pytest.mark.slow
@pytest.mark.parametrize("together", [True, False])
def test_what_is_loaded_says_what_was_saved(
    model: Model, tmp_path: Path, together: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    before = model.judging(together)
    capfd.readouterr()
    save(before, tmp_path / "model.onnx")
    said = capfd.readouterr()
    assert said.out + said.err == ""
    after = load(tmp_path / "model.onnx")
    assert isinstance(after, Model)
    assert (after.classes, after.form, after.transductive) == (model.classes, model.form, together)
    for count in (1, 2, 7):
        images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8)
        assert torch.allclose(
            after.probabilities(images), before.probabilities(images), rtol=0, atol=1e-5
        )
    with pytest.raises(UserError, match=r"expected a model saved as .pt"):
        after.judging(not together)


@pytest.mark.slow
def test_a_photograph_is_judged_without_torch(model: Model, tmp_path: Path) -> None:
    """The script of the page, where nothing is installed but what it says."""
    save(model, tmp_path / "model.onnx")
    (script,) = re.findall(r"^```python\n(import json, sys.*?)^```", PAGE.read_text(), re.M | re.S)
    (tmp_path / "judge.py").write_text(script)
    python = tmp_path / "clean" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "clean"], check=True)
    needed = [f"{name}=={version(name)}" for name in ("onnxruntime", "numpy", "pillow")]
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--python", python, "install", *needed], check=True)
    photos = sorted(tmp_path.glob("photos/*/*/*"))[::400]
    assert len(photos) > 1
    for photo in photos:
        words = [python, "judge.py", photo]
        done = subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, text=True)
        name, _, probability = done.stdout.strip().rpartition(" ")
        (truth,) = model.predict(photo).table.to_dict("records")
        assert name == truth["predicted"]
        assert float(probability) == pytest.approx(truth["probability"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_series_and_rows_are_judged_too(tmp_path: Path, own_cache: None, kind: str) -> None:
    draw = np.random.default_rng(0)
    group = np.arange(96) // 12
    x = draw.normal(size=(96, 2, 16) if kind == "classes" else (96, 5))
    y = group if kind == "classes" else 40 + 9 * draw.normal(size=96)
    np.savez(tmp_path / "all.npz", x=x, y=y, machine=group)
    np.savez(tmp_path / "support.npz", x=x[:6], y=np.arange(6) % 2 if kind == "classes" else y[:6])
    np.savez(tmp_path / "query.npz", x=x[6:12])
    words = ["ways=2", "model=cnn1d", "model.channels=4"]
    if kind == "numbers":
        words = ["data.task=machine", "data.target=y", "ways=1", "model=mlp"]
    words += ["data=table", f"data.root='{tmp_path / 'all.npz'}'", "algo=fomaml", "shots=2"]
    run = untrained(tmp_path / "run", *words, "queries=2", "eval.queries=4")
    model = adapt(run, tmp_path / "support.npz", ["algo.eval_steps=2"])
    assert isinstance(model, RowModel)
    save(model, tmp_path / "model.onnx")
    after = load(tmp_path / "model.onnx")
    assert isinstance(after, RowModel)
    truth, found = (each.predict(tmp_path / "query.npz").table for each in (model, after))
    last = truth.columns[-1]
    assert found[last].to_numpy() == pytest.approx(truth[last].to_numpy(), abs=1e-4)


def test_what_is_missing_costs_a_line_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = importlib.util.find_spec
    hidden = "fewshot_cli.inference.onnx_program.find_spec"
    monkeypatch.setattr(hidden, lambda name: None if name == "onnxscript" else here(name))
    line = r"model.onnx: needs onnxscript; expected `pip install 'fewshot\[onnx\]'`"
    with pytest.raises(UserError, match=line):
        saved.check(tmp_path / "model.onnx")


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "odd.onnx").write_bytes(b"odd")
    with pytest.raises(UserError, match=r"odd.onnx: expected what `fewshot adapt --save` wrote"):
        load(tmp_path / "odd.onnx")
