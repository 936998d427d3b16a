from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import little_folder, untrained

from fewshot_cli.inference import Model, adapt, load, save
from fewshot_cli.settings.errors import UserError
from fewshot_cli.training import checkpoints


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    root = little_folder(folder / "photos", classes=15)
    thirds = [f"data.fractions.{split}={1 / 3}" for split in ("train", "valid", "test")]
    chosen = ["data=folder", f"data.root='{root}'", *thirds, "model.channels=8"]
    told = ["algo.eval_steps=3", "algo.inner_lr=0.4"]
    return adapt(untrained(folder / "run", *chosen), root / "gruppe 1", told)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("ending", [".pt", ".pt2"])
def test_what_is_loaded_says_what_was_saved(
    model: Model, tmp_path: Path, ending: str, together: bool
) -> None:
    before = model.judging(together)
    save(before, tmp_path / f"model{ending}")
    after = load(tmp_path / f"model{ending}")
    assert (after.classes, after.form, after.transductive) == (model.classes, model.form, together)
    for count in (1, 2, 7):  # a program takes any number of images
        images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8)
        said = before.probabilities(images)
        assert torch.allclose(after.probabilities(images), said, atol=1e-5)
        assert torch.allclose(said.sum(1), torch.ones(count))


@pytest.mark.slow
def test_a_program_runs_where_only_torch_is(model: Model, tmp_path: Path) -> None:
    save(model.judging(True), tmp_path / "model.pt2")
    images = torch.rand(3, 3, 32, 32)
    torch.save(images, tmp_path / "images.pt")
    code = """
import sys, torch
program = torch.export.load("model.pt2").module()
torch.save(program(torch.load("images.pt")).detach(), "said.pt")
assert not any(name.startswith("fewshot") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    expected = model.judging(True).judge(images)
    assert torch.allclose(torch.load(tmp_path / "said.pt"), expected, atol=1e-5)


def test_an_image_is_judged_the_same_beside_others_only_when_alone(model: Model) -> None:
    images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    alone, together = model.judging(False), model.judging(True)
    assert torch.equal(alone.probabilities(images)[:1], alone.probabilities(images[:1]))
    assert not torch.allclose(
        together.probabilities(images)[:1], together.probabilities(images[:1])
    )


def test_a_program_keeps_its_way_of_judging(model: Model, tmp_path: Path) -> None:
    save(model.judging(True), tmp_path / "model.pt2")
    program = load(tmp_path / "model.pt2")
    assert program.judging(True) is program
    with pytest.raises(UserError, match="judges all images together; expected a model saved as"):
        program.judging(False)
    with pytest.raises(UserError, match="is a program already"):
        save(program, tmp_path / "again.pt2")


def test_other_files_are_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model.txt: expected a file that ends in .pt, .pt2"):
        save(model, tmp_path / "model.txt")
    with pytest.raises(UserError, match=r"none.pt: no such checkpoint"):
        load(tmp_path / "none.pt")
    with pytest.raises(UserError, match=r"none.pt2: No such file"):
        load(tmp_path / "none.pt2")
    (tmp_path / "odd.pt2").write_bytes(b"PK\x03\x04 odd")
    with pytest.raises(UserError, match=r"odd.pt2: expected what `fewshot adapt --save` wrote"):
        load(tmp_path / "odd.pt2")
    checkpoints.write(tmp_path / "run.pt", {"net": {}, "iteration": 3})
    with pytest.raises(UserError, match=r"run.pt: expected what `fewshot adapt --save` wrote"):
        load(tmp_path / "run.pt")
    save(model, tmp_path / "cut.pt")
    content = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[:-7])
    with pytest.raises(UserError, match=r"cut.pt: expected a whole"):
        load(tmp_path / "cut.pt")


def test_a_kind_that_is_not_ours_is_not_imported(model: Model, tmp_path: Path) -> None:
    save(model, tmp_path / "model.pt")
    state = checkpoints.read(tmp_path / "model.pt")
    state["facts"]["network"]["kind"] = "../algorithms/maml"
    checkpoints.write(tmp_path / "model.pt", state)
    with pytest.raises(UserError, match="expected a file of fewshot_cli/models"):
        load(tmp_path / "model.pt")
