from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from helpers import TOGETHER, WITHOUT_STEPS, drawings, little_folder, names, untrained
from torch import Tensor

from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.images.tree import decode
from fewshot_cli.inference import adapt
from fewshot_cli.plots.trained import adapted, meta_test_tasks, restored
from fewshot_cli.settings.compose import changed_config
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.identity import may_change
from fewshot_cli.settings.schema import Colour
from fewshot_cli.training.evaluation import predict

FOLDER = ["data=folder", "data.colour=grey", "data.invert=true", "data.split=groups"]


@pytest.fixture(scope="module")
def alphabets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three alphabets of twenty drawn characters, twelve drawings each."""
    return drawings(tmp_path_factory.mktemp("alphabets"), alphabets=3, characters=20, of_each=12)


def chosen(root: Path, classes: list[str], images: Tensor, to: Path) -> None:
    """Copy the files of a task, found by their pixels, into one folder for each class."""
    size = images.shape[-1]
    for place, (name, own) in enumerate(zip(classes, images, strict=True)):
        there = {path: 255 - decode(path, size, Colour.grey) for path in (root / name).iterdir()}
        for image in own:
            wanted = (image * 255).round().byte().numpy()
            file = next(path for path, pixels in there.items() if (pixels == wanted).all())
            folder = to / f"{place:02} {name.replace('/', ' ')}"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder)


def compare(root: Path, tmp_path: Path, algo: str, together: bool, ways: int) -> None:
    """Whatever the run's ways were, `adapt` and the meta-test say the same of a 20-way task."""
    thirds = [f"data.fractions.{split}={1 / 3}" for split in ("train", "valid", "test")]
    small = ["data.image_size=16", "model.channels=8", "eval.queries=2", f"ways={ways}"]
    run = untrained(tmp_path / "run", *FOLDER, *thirds, *small, f"algo={algo}", f"data.root={root}")
    steps = 0 if algo in WITHOUT_STEPS else 3
    told = [f"eval.transductive={together}", *([f"algo.eval_steps={steps}"] if steps else [])]
    config = changed_config(run / "config.yaml", [*told, "ways=20"], may_change("evaluate"))
    setup = restored(run, config)
    task = meta_test_tasks(setup, 1)
    *_, learner = adapted(setup, task, steps)
    with torch.no_grad():
        expected = predict(learner, task, setup.algorithm.net, together)[0].softmax(-1)

    assert task.classes is not None
    assert isinstance(setup.source, ImageTasks)
    of_test = list(setup.source.sizes["test"])
    classes = [of_test[place] for place in task.classes[0].tolist()]
    chosen(root, classes, task.support_x[0].unflatten(0, (20, -1)), tmp_path / "support")
    chosen(root, classes, task.query_x[0].unflatten(0, (20, -1)), tmp_path / "query")
    model = adapt(run, tmp_path / "support", told)
    said = model.predict(tmp_path / "query")
    assert len(said.files) == 40
    # The images stand in another order, so that sums round otherwise, and what is level may turn.
    first, second = expected.topk(2).values.unbind(-1)
    level = int((first - second < 2e-4).sum())
    right = sum(bool(one) for one in said.right)
    assert abs(right - int((expected.argmax(-1) == task.query_y[0]).sum())) <= level
    by_file = said.probabilities.sort(0).values
    assert torch.allclose(by_file, expected.sort(0).values, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("algo", sorted({*names("algo")} - {*TOGETHER}))
@pytest.mark.parametrize(("together", "ways"), [(True, 5), (False, 5), (True, 20)])
def test_twenty_ways_of_an_unseen_alphabet_as_evaluate_has_them(
    alphabets: Path, tmp_path: Path, own_cache: None, algo: str, together: bool, ways: int
) -> None:
    compare(alphabets, tmp_path, algo, together, ways)


@pytest.mark.slow
def test_the_real_alphabets(omniglot: Path, tmp_path: Path, own_cache: None) -> None:
    """As the test above, with files of Omniglot that another data set, a folder, never saw."""
    with zipfile.ZipFile(omniglot / "images_evaluation.zip") as archive:
        wanted = [
            name
            for name in archive.namelist()
            if name.endswith(".png") and ("Tengwar" in name or "Tibetan" in name or "ULOG" in name)
        ]
        archive.extractall(tmp_path / "files", wanted)
    compare(tmp_path / "files" / "images_evaluation", tmp_path, "maml", together=True, ways=5)


def test_a_run_on_curves_is_refused(tmp_path: Path, own_cache: None) -> None:
    run = untrained(tmp_path / "run", "data=sinusoid", "model=mlp")
    with pytest.raises(UserError, match="was trained on data=sinusoid; expected a run on images"):
        adapt(run, tmp_path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("algo.eval_step=3", "algo.eval_step: cannot be changed afterwards; .* algo.eval_steps"),
        ("model=fc", "model: cannot be changed afterwards"),
        ("device=gpu", "device=gpu: expected auto, cpu"),
    ],
)
def test_a_wrong_override_is_named(
    tmp_path: Path, own_cache: None, override: str, message: str
) -> None:
    run = untrained(tmp_path / "run", "model=mlp")
    with pytest.raises(UserError, match=message):
        adapt(run, tmp_path, [override])


def test_colour_as_the_run_had_it(tmp_path: Path, own_cache: None) -> None:
    root = little_folder(tmp_path / "photos", classes=15)
    thirds = [f"data.fractions.{split}={1 / 3}" for split in ("train", "valid", "test")]
    run = untrained(tmp_path / "run", "data=folder", f"data.root='{root}'", *thirds, "model=fc")
    model = adapt(run, root / "gruppe 1", ["algo.eval_steps=1", "algo.inner_lr=0.1"])
    assert model.form.shape == (3, 32, 32)
    assert model.classes == [f"klasse ä{number}" for number in (1, 10, 13, 4, 7)]
