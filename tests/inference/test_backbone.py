from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import photographs
from PIL import Image

from fewshot_cli.inference import Model, adapt, load, save
from fewshot_cli.settings.errors import UserError

SMALL = ["model.image_size=64"]


@pytest.fixture
def fields(tmp_path: Path) -> tuple[Path, Path]:
    """Five patches of each of six fields of a photograph, and the others to judge."""
    whole = photographs(tmp_path / "whole", across=6)
    folders = sorted(folder for folder in whole.rglob("*") if folder.is_dir())[1::7]
    for folder in folders[:6]:
        for place, file in enumerate(sorted(folder.iterdir())):
            part = "support" if place < 5 else "query"
            target = tmp_path / part / folder.name / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)
    return tmp_path / "support", tmp_path / "query"


def right(model: Model, query: Path) -> float:
    judged = [one for one in model.predict(query).right if one is not None]
    return sum(judged) / len(judged)


def test_five_photographs_a_class_make_a_classifier(fields: tuple[Path, Path]) -> None:
    support, query = fields
    model = adapt(support=support, overrides=SMALL)
    assert right(model, query) > 0.8
    assert model.chosen is not None
    chose, sure = (
        line for line in model.chosen.splitlines() if line.startswith(("Chose", "Leave"))
    )
    assert chose.startswith("Chose the head ")
    assert all(name in chose for name in ("ncm", "ridge", "logistic"))
    assert "of 30 support images (95 % interval " in sure
    assert "optimistic, since it also chose the head" in sure
    assert model.apart
    told = adapt(support=support, overrides=SMALL, head="ridge")
    assert told.chosen is not None
    assert "Chose" not in told.chosen
    assert "optimistic" not in told.chosen


def test_probabilities_are_as_sure_as_they_are_right(fields: tuple[Path, Path]) -> None:
    support, query = fields
    said = adapt(support=support, overrides=SMALL).predict(query)
    sure = float(said.probabilities.max(-1).values.mean())
    share = sum(bool(one) for one in said.right) / len(said.right)
    assert abs(sure - share) < 0.15


def test_the_answer_for_an_image_does_not_depend_on_the_others(
    fields: tuple[Path, Path],
) -> None:
    support, query = fields
    model = adapt(support=support, overrides=SMALL)
    whole = model.predict(query)
    for file in whole.files[::20]:
        alone = model.predict(query / file)
        expected = whole.probabilities[whole.files.index(file)]
        assert torch.allclose(alone.probabilities[0], expected, atol=1e-5)


def test_one_photograph_a_class_gives_no_certainty(
    fields: tuple[Path, Path], tmp_path: Path
) -> None:
    support, query = fields
    for folder in support.iterdir():
        for file in sorted(folder.iterdir())[1:]:
            file.unlink()
    model = adapt(support=support, overrides=SMALL)
    assert model.chosen is not None
    assert (
        "Took the head ncm: with one image of each class, nothing can be left out" in model.chosen
    )
    assert model.unlike is None
    assert right(model, query) > 0.5


def test_a_wrong_label_is_named(fields: tuple[Path, Path]) -> None:
    support, _ = fields
    one, other = sorted(support.iterdir())[:2]
    moved = sorted(one.iterdir())[0]
    moved.rename(other / f"moved{moved.suffix}")
    model = adapt(support=support, overrides=SMALL)
    assert model.chosen is not None
    found = [line for line in model.chosen.splitlines() if line.startswith("Mislabelled?")]
    assert any(f"moved{moved.suffix} looks like {one.name}" in line for line in found)


def test_distances_are_told_and_what_is_too_far_is_named(fields: tuple[Path, Path]) -> None:
    support, query = fields
    model = adapt(support=support, overrides=SMALL)
    assert model.unlike is not None
    strict = replace(model, unlike=replace(model.unlike, limit=0.8 * model.unlike.limit))
    said = strict.predict(query)
    assert said.columns[-1] == "distance"
    far = said.table[said.table["distance"] > 1]
    assert 0 < len(far) < len(said.files)
    assert set(said.unlike) == set(far["file"])


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".pt", ".pt2"])
def test_it_is_saved_whole(fields: tuple[Path, Path], tmp_path: Path, ending: str) -> None:
    support, query = fields
    model = adapt(support=support, overrides=SMALL)
    file = tmp_path / f"model{ending}"
    save(model, file)
    again = load(file)
    first, second = model.predict(query), again.predict(query)
    assert torch.allclose(first.probabilities, second.probabilities, atol=1e-5)
    assert again.classes == model.classes
    if ending == ".pt":
        assert first.unlike.keys() == second.unlike.keys()


def test_fine_tuning_moves_the_backbone(fields: tuple[Path, Path]) -> None:
    support, query = fields
    plain = adapt(support=support, overrides=SMALL, head="ridge")
    tuned = adapt(support=support, overrides=[*SMALL, "algo.eval_steps=2"], finetune=True)
    assert tuned.chosen == "Fine-tuned all weights in 2 steps, from the class means on"
    before, after = (dict(model.judge.net[1].named_parameters()) for model in (plain, tuned))  # type: ignore[attr-defined]
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert right(tuned, query) > 0.7


def test_images_of_all_kinds_are_read(fields: tuple[Path, Path]) -> None:
    support, query = fields
    first = next(iter(sorted(support.iterdir())))
    photo = Image.open(next(iter(sorted(first.iterdir())))).convert("RGB")
    photo.convert("L").save(first / "grey.png")
    photo.convert("CMYK").save(first / "cmyk.jpg")
    photo.resize((1, 1)).save(first / "pixel.png")
    deep = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(first / "deep.png")
    (query / first.name / "broken.jpg").write_bytes(b"no photograph")
    model = adapt(support=support, overrides=SMALL)
    said = model.predict(query)
    assert list(said.left_out) == [f"{first.name}/broken.jpg"]
    assert right(model, query) > 0.7


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"head": "rigde"}, "--head rigde: expected ridge"),
        ({"head": "ridge", "finetune": True}, "--head ridge: --finetune has a head of its own"),
        ({"backbone": "resnet81"}, "model.backbone=resnet81: timm has no such architecture"),
    ],
)
def test_what_cannot_be(fields: tuple[Path, Path], told: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        adapt(support=fields[0], **told)  # type: ignore[arg-type]
