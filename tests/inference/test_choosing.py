from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from helpers import drawings, untrained

from fewshot_cli.inference import adapt
from fewshot_cli.inference.choosing import MOST_FOLDS, STEPS, HeldOut, folds

SMALL = ["data.image_size=16", "model.channels=8"]
CHOSE = re.compile(
    r"Chose (\d+) steps? at an inner rate of ([\d.e-]+) by (\d)-fold cross-validation over the "
    r"support set: ([\d.]+)% of (\d+) images \((\d+) steps? at an inner rate of ([\d.e-]+), as in "
    r"the run's test: ([\d.]+)% of \5 images\)"
)


@pytest.fixture(scope="module")
def support(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of three to six drawings."""
    root = drawings(tmp_path_factory.mktemp("all"), alphabets=1, characters=4, of_each=6)
    for place, folder in enumerate(sorted((root / "alphabet0").iterdir())):
        for file in sorted(folder.iterdir())[3 + place :]:
            file.unlink()
    return root / "alphabet0"


@pytest.mark.parametrize("counts", [[2, 2], [2, 30], [3, 7, 4], [5, 5, 5], [9, 11]])
def test_each_image_is_left_out_once_and_no_class_is_left_out_whole(counts: list[int]) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    left_out = folds(labels)
    assert len(left_out) == min(MOST_FOLDS, *counts)
    assert torch.stack(left_out).sum(0).tolist() == [1] * len(labels)
    for out in left_out:
        for place, count in enumerate(counts):
            share = count / len(left_out)
            of_class = int(labels[out].eq(place).sum())
            assert math.floor(share) <= of_class <= math.ceil(share) < count


def test_outputs_that_are_not_finite_lose() -> None:
    good, bad = HeldOut(), HeldOut()
    labels = torch.tensor([0, 1])
    good.add(torch.tensor([[0.0, 9.0], [9.0, 0.0]]), labels)  # none is right
    bad.add(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), labels)
    assert bad.order < good.order
    bad.add(torch.tensor([[math.nan, math.nan], [0.0, math.inf]]), labels)
    assert good.order < bad.order


@pytest.mark.slow
@pytest.mark.parametrize("together", [True, False])
def test_the_accuracy_is_that_of_models_that_never_saw_the_image(
    tmp_path: Path, own_cache: None, support: Path, together: bool
) -> None:
    """Each fold again, by folders: adapt to what is kept, and judge what is left out."""
    run = untrained(tmp_path / "run", "algo=maml", "algo.inner_lr=0.02", *SMALL)
    way = f"eval.transductive={together}"
    said = adapt(run, support, [way]).chosen
    assert said is not None
    found = CHOSE.fullmatch(said)
    assert found is not None, said
    steps, rate, number, share, images, own_steps, own_rate, own_share = found.groups()
    assert (number, images, own_steps, own_rate) == ("3", "18", "3", "0.02")
    assert float(share) >= float(own_share)
    assert int(steps) in STEPS
    for fold in range(3):
        for folder in support.iterdir():
            for place, file in enumerate(sorted(folder.iterdir())):
                part = "left out" if place % 3 == fold else "kept"
                (tmp_path / str(fold) / part / folder.name).mkdir(parents=True, exist_ok=True)
                shutil.copy(file, tmp_path / str(fold) / part / folder.name)
    for setting, expected in (((steps, rate), share), ((own_steps, own_rate), own_share)):
        told = [f"algo.eval_steps={setting[0]}", f"algo.inner_lr={setting[1]}", way]
        right = 0
        for fold in range(3):
            model = adapt(run, tmp_path / str(fold) / "kept", told)
            assert model.chosen is None
            right += sum(map(bool, model.predict(tmp_path / str(fold) / "left out").right))
        assert f"{right / 18:.1%}" == f"{expected}%"


@pytest.mark.slow
def test_the_model_is_that_of_the_setting_chosen_and_the_same_each_time(
    tmp_path: Path, own_cache: None, support: Path
) -> None:
    """Reptile draws mini-batches in its inner loop."""
    run = untrained(tmp_path / "run", "algo=reptile", *SMALL)
    one, again = adapt(run, support), adapt(run, support)
    assert one.chosen == again.chosen
    found = CHOSE.fullmatch(str(one.chosen))
    assert found is not None, one.chosen
    told = [f"algo.eval_steps={found[1]}", f"algo.inner_lr={found[2]}"]
    said, *others = (
        model.predict(support).probabilities for model in (one, again, adapt(run, support, told))
    )
    assert all(torch.equal(said, other) for other in others)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algo", "told", "begins"),
    [
        ("finetune", [], r"(Chose|Took) \d+ steps? at an inner rate of [\d.]+"),
        ("scratch", ["algo.eval_steps=2"], r"(Chose|Took) an inner rate of [\d.]+"),
        ("anil", ["algo.inner_lr=0.1"], r"(Chose|Took) \d+ steps?(,| by)"),
        ("metasgd", [], r"(Chose|Took) \d+ steps?(,| by)"),  # its rates are learned
        ("anil", ["algo.inner_lr=0.1", "algo.eval_steps=2"], None),
        ("anil", ["algo.eval_steps=0"], None),
        ("protonet", [], None),
    ],
)
def test_what_is_told_or_learned_stays(
    tmp_path: Path, own_cache: None, support: Path, algo: str, told: list[str], begins: str | None
) -> None:
    run = untrained(tmp_path / "run", f"algo={algo}", *SMALL)
    chosen = adapt(run, support, told).chosen
    if begins is None:
        assert chosen is None
    else:
        assert re.match(begins, str(chosen)), chosen


def test_a_class_with_one_image_leaves_nothing_to_choose_by(
    tmp_path: Path, own_cache: None, support: Path
) -> None:
    root = Path(shutil.copytree(support, tmp_path / "support"))
    for file in sorted((root / "character02").iterdir())[1:]:
        file.unlink()
    run = untrained(tmp_path / "run", *SMALL)
    model, own = adapt(run, root), adapt(run, root, ["algo.eval_steps=3", "algo.inner_lr=0.4"])
    assert model.chosen == (
        "Took 3 steps at an inner rate of 0.4, as in the run's test: class character02 has 1 "
        "image, and there is nothing to choose by without 2 of each class"
    )
    assert own.chosen is None
    said, expected = (each.predict(support).probabilities for each in (model, own))
    assert torch.equal(said, expected)


def test_where_every_rate_diverges_the_run_keeps_its_own(
    tmp_path: Path, own_cache: None, support: Path
) -> None:
    run = untrained(tmp_path / "run", "model=mlp", "algo.inner_lr=1e30", "data.image_size=16")
    assert adapt(run, support).chosen == (
        "Took 3 steps at an inner rate of 1e+30, as in the run's test: 3-fold cross-validation "
        "over the support set found nothing better (no finite answers)"
    )
