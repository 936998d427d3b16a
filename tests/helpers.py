"""Small configs, task batches and data sets that several tests make."""

from __future__ import annotations

import copy
import io
import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib
import pandas as pd
import pytest
import stand_ins
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor, nn

from fewshot_cli import models
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.settings import choices, compose
from fewshot_cli.settings.compose import job_config
from fewshot_cli.settings.schema import Config, ModelConfig
from fewshot_cli.stacked import per_task

UNTRAINED = ["scratch", "ncm", "ridge", "logistic", "soft_kmeans"]  # without meta-training
WITHOUT_STEPS = ["protonet", "ncm", "ridge", "logistic"]  # nothing that a task moves
TOGETHER = ["soft_kmeans"]  # which judges queries together, and leaves no weights
BACKBONES = ["lite0", "timm"]  # pretrained, or as they might be
IMAGE_MODELS = ["cnn4", "cnn4_pool", "fc", "mlp", "resnet12"]
TINY = [
    *("meta_batch=3", "iterations=4", "log_every=2", "ways=3", "eval.queries=2"),
    *("eval.tasks=6", "eval.valid_tasks=4", "eval.every=2"),
]


# Many commands in one process, since each start takes seconds: a line each, words between tabs.
VERBS = """
import sys
from fewshot_cli.app import app
for line in sys.stdin.read().splitlines():
    try:
        app(line.split("\\t"), standalone_mode=False)
    except SystemExit as end:
        assert not end.code, (line, end.code)
"""


def commands(folder: Path, lines: list[list[str]], **environment: str) -> str:
    """What these commands say, in one process in `folder`."""
    done = subprocess.run(
        [sys.executable, "-c", VERBS],
        cwd=folder,
        env=os.environ | environment,
        input="\n".join("\t".join(line) for line in lines),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def names(group: str) -> list[str]:
    """Every choice of a group that the project ships."""
    return [option.name for option in choices.options(group)]


def keys_of(group: str, name: str) -> Any:
    """The class of a choice's keys. Nothing is composed, since this is asked before any test."""
    (option,) = (option for option in choices.options(group) if option.name == name)
    return choices.own_keys(group, str(option.content()["kind"]))


def pairs() -> list[tuple[str, str]]:
    """Every data set with every algorithm that can learn it."""
    only_classes = [name for name in names("algo") if keys_of("algo", name).classifies]
    return [
        (data, algo)
        for data in names("data")
        for algo in names("algo")
        if (data, algo) not in [("sinusoid", name) for name in only_classes]
    ]


def few(cases: Iterable[object], quick: int) -> list[object]:
    """For `parametrize`: these cases, of which all but the first so many are slow."""
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else [case]),
            marks=[pytest.mark.slow] * (number >= quick),
        )
        for number, case in enumerate(cases)
    ]


def each_value(cases: Iterable[tuple[object, ...]]) -> list[object]:
    """These cases, of which those that bring no new value in any place are slow."""
    seen, marked = set[tuple[int, object]](), list[object]()
    for case in cases:
        values = set(enumerate(map(str, case)))
        name = "-".join(" ".join(one) if isinstance(one, list) else str(one) for one in case)
        marks = [pytest.mark.slow] if values <= seen else []
        marked.append(pytest.param(*case, marks=marks, id=name))
        seen |= values
    return marked


def of_all(**values: Iterable[object]) -> tuple[str, list[object]]:
    """For `parametrize`: every combination, marked as `each_value` has it."""
    return ",".join(values), each_value(product(*values.values()))


def config(*overrides: str) -> Config:
    """A config of the test's own, which is that of `job_config`."""
    return copy.deepcopy(checked(overrides, os.environ.get("FEWSHOT_CACHE")))


@cache
def checked(overrides: tuple[str, ...], _cache_dir: str | None) -> Config:
    with mock.patch.object(compose, "compose", composed):
        return job_config(list(overrides))


def composed(name: str, overrides: list[str], return_hydra_config: bool) -> DictConfig:
    """Hydra's `compose`, which takes a quarter of a second: once for all that choose the same."""
    plain = [each for each in compose.parse(overrides) if compose.is_plain(each)]
    told = {each.input_line for each in plain}
    chosen = tuple(word for word in overrides if word not in told)
    config = copy.deepcopy(composed_once(name, chosen, return_hydra_config))
    for each in plain:
        OmegaConf.update(config, each.key_or_group, each.value())
    return config


composed_once = cache(compose.compose)


def narrow(model: str) -> ModelConfig:
    """The model as it is shipped, with few channels where it pools.

    With so few, no two maxima of a pool lie so close that rounding could swap them.
    """
    few = ["model.channels=4"] if model in ("cnn4_pool", "resnet12") else []
    return config(f"model={model}", *few).model


class Smooth(nn.SiLU):
    by_example = True


class Mean(nn.AvgPool2d):
    by_example = True


def smooth(model: str) -> nn.Module:
    """The model for colour images, with SiLU for ReLU and means for max-pooling.

    Float32 is compared on these. At a kink rounding decides which side counts, so that a gradient
    in float32, ours or learn2learn's, may be 1e-2 from the truth, on each processor another one.
    """
    torch.manual_seed(0)
    net = models.build(narrow(model), (3, 16, 16), 3)
    for module in list(net.modules()):
        for name, layer in module.named_children():
            if isinstance(layer, nn.ReLU | nn.LeakyReLU):
                setattr(module, name, Smooth())
            elif isinstance(layer, nn.MaxPool2d):
                setattr(module, name, Mean(2))
    assert per_task.covers(net)
    return net.double().to(memory_format=torch.channels_last)  # as training/setup.py does


def rounded(tasks: TaskBatch) -> TaskBatch:
    """The same tasks in float32."""
    return replace(tasks, support_x=tasks.support_x.float(), query_x=tasks.query_x.float())


def distance(net: nn.Module, found: list[Tensor], truth: list[Tensor]) -> float:
    """Of the layer that is farthest off: the norm of the difference over that of the truth.

    A layer's weight and bias count together, since the biases before a norm have no gradient.
    """
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for (name, _), mine, true in zip(net.named_parameters(), found, truth, strict=True):
        pair = mine.double().flatten(), true.flatten()
        parts.setdefault(name.rpartition(".")[0], []).append(pair)
    layers = [[torch.cat(side) for side in zip(*pairs, strict=True)] for pairs in parts.values()]
    return max(float((mine - true).norm() / true.norm()) for mine, true in layers)


def image_tasks(
    tasks: int = 3,
    ways: int = 3,
    shots: int = 2,
    queries: int = 2,
    dtype: torch.dtype = torch.float,
    channels: int = 1,
) -> TaskBatch:
    """Random 16-pixel images, a mean of its own for each class, so that there is much to learn."""
    generator = torch.Generator().manual_seed(7)

    def images(count: int) -> torch.Tensor:
        shape = tasks, ways, count, channels, 16, 16
        return (torch.rand(shape, generator=generator, dtype=dtype) + means).flatten(1, 2)

    shape = tasks, ways, 1, channels, 16, 16
    means = torch.rand(shape, generator=generator, dtype=dtype)
    labels = torch.arange(ways)
    return TaskBatch(
        images(shots),
        labels.repeat_interleave(shots).expand(tasks, -1),
        images(queries),
        labels.repeat_interleave(queries).expand(tasks, -1),
        labels.expand(tasks, -1),
    )


def picture(seed: int, size: int = 105) -> bytes:
    """A PNG with a black square somewhere on white, one bit a pixel as in Omniglot."""
    image = Image.new("1", (size, size), 1)
    image.paste(0, (seed % 60, seed // 60 % 60, seed % 60 + 40, seed // 60 % 60 + 40))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def little_omniglot(root: Path, characters: int = 4) -> Path:
    """Both official archives, with two alphabets of a few characters each."""
    root.mkdir(parents=True, exist_ok=True)
    seed = 0
    for part in ("images_background", "images_evaluation"):
        with zipfile.ZipFile(root / f"{part}.zip", "w") as archive:
            for alphabet in (f"{part[7]}1", f"{part[7]}2"):
                for character in range(1, characters + 1):
                    for drawing in range(1, 21):
                        seed += 1
                        archive.writestr(
                            f"{part}/{alphabet}/character{character:02}/{drawing:04}.png",
                            picture(seed),
                        )
    return root


LITTLE = ["data.classes.train=6", "data.classes.valid=5", "data.classes.test=5"]


def little_folder(root: Path, classes: int = 9) -> Path:
    """Colour pictures in three groups of classes, of 17 to 19 images: enough for the defaults."""
    for number in range(classes):
        folder = root / f"gruppe {number % 3}" / f"klasse ä{number}"
        folder.mkdir(parents=True)
        for place in range(17 + number % 3):
            image = Image.new("RGB", (24, 18), (number * 25 % 256, place * 10, 90))
            image.save(folder / f"bild {place:02}.png")
    return root


def drawings(root: Path, alphabets: int, characters: int, of_each: int) -> Path:
    """Folders `alphabet/character/` of drawings that are all different."""
    seed = 0
    for alphabet in range(alphabets):
        for character in range(characters):
            folder = root / f"alphabet{alphabet}" / f"character{character:02}"
            folder.mkdir(parents=True)
            for drawing in range(of_each):
                seed += 11
                (folder / f"{drawing:02}.png").write_bytes(picture(seed))
    return root


def untrained(run: Path, *overrides: str) -> Path:
    """A run directory with the initial weights for its best checkpoint."""
    from fewshot_cli.runs.directory import RunDirectory
    from fewshot_cli.training import checkpoints
    from fewshot_cli.training.setup import prepare

    directory = RunDirectory(run)
    setup = prepare(config(*overrides))
    directory.begin(setup.config)
    checkpoints.save(directory.best, setup.algorithm, 0)
    if (kept := getattr(setup.source, "kept", None)) is not None:
        directory.write_data(kept)
    return run


def photographs(root: Path, photos: list[Path] | None = None, across: int = 6) -> Path:
    """Patches of photographs: each photograph is a group, each field of a grid over it a class.

    Classes have 16 to 24 patches of different sizes and formats.

    Args:
        photos: files; none: the one that matplotlib carries.
    """
    draw = random.Random(0)
    here = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    for photo in photos or [here]:
        image = Image.open(photo).convert("RGB")
        wide, high = image.width // across, image.height // across
        for field in range(across * across):
            folder = root / photo.stem / f"field {field // across}.{field % across}"
            folder.mkdir(parents=True)
            for place in range(draw.randint(16, 24)):
                side = draw.randint(min(wide, high) // 2, int(0.9 * min(wide, high)))
                left = field % across * wide + draw.randint(0, wide - side)
                top = field // across * high + draw.randint(0, high - side)
                patch = image.crop((left, top, left + side, top + side))
                patch.save(folder / f"{place:02}{('.jpg', '.png', '.webp')[place % 3]}")
    return root


def little_table(folder: Path, classes: int = 18) -> Path:
    """A CSV of flowers: numbers, a category and the class, of 17 to 19 rows each."""
    path = folder / f"flowers of {os.getpid()}.csv"
    if not path.exists():
        draw, lines = random.Random(0), ["length,species,width,colour"]
        for number in range(classes):
            for _ in range(17 + number % 3):
                length, width = draw.gauss(number, 1), draw.gauss(-number, 2)
                lines.append(f"{length},s{number:02},{width},{draw.choice(['red', 'blue'])}")
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    return path


def little_python(folder: Path) -> Path:
    """A user's own file, of 18 classes with 18 rows each."""
    path = folder / f"tasks of {os.getpid()}.py"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "import numpy as np\n"
        "def arrays():\n"
        "    y = np.arange(18).repeat(18)\n"
        "    noise = np.random.default_rng(0).normal(size=(324, 3))\n"
        "    return {'x': y[:, None] * [1, -1, 2] + noise, 'y': y}\n"
    )
    return path


def choosing(data: str, folder: Path) -> list[str]:
    """The overrides that choose a data set and what it needs, with files of its own in `folder`."""
    if data == "sinusoid":
        return ["data=sinusoid", "ways=1"]
    if data == "table":
        return ["data=table", f"data.root='{little_table(folder)}'", "data.label=species"]
    if data == "python":
        return ["data=python", f"data.module='{little_python(folder)}'", "data.trust=true"]
    if data == "folder":
        shares = [f"data.fractions.{split}={1 / 3}" for split in ("train", "valid", "test")]
        root = folder / f"a folder of {os.getpid()}"  # made once in each test process
        if not root.exists():
            little_folder(root)
        return ["data=folder", f"data.root='{root}'", "data.image_size=16", *shares]
    if data in stand_ins.MAKERS:
        return stand_ins.little(data, folder / f"{data} of {os.getpid()}")
    return [f"data={data}"]


def metrics(run: Path) -> str:
    """What metrics.csv holds, without the times that it took."""
    table = pd.read_csv(run / "metrics.csv", dtype=str)
    return table.drop(columns=["elapsed_s", "tasks_per_s"]).to_csv()


def outcome(run: Path) -> dict[str, object]:
    """What a run ended with, without the times that it took."""
    summary = json.loads((run / "summary.json").read_text())
    del summary["seconds"], summary["git_commit"]  # files may be edited meanwhile
    found: dict[str, object] = {
        "status": json.loads((run / "status.json").read_text()),
        "metrics": metrics(run),
        "summary": json.dumps(summary),
        **{path.name: path.read_bytes() for path in sorted(run.glob("test_*.csv"))},
    }
    for name in ("last", "best"):
        state = torch.load(run / "checkpoints" / f"{name}.pt", weights_only=True)
        file = io.BytesIO()
        torch.save([state["iteration"], state["net"], state["algorithm"]], file)
        found[f"{name} weights and state"] = file.getvalue()
    return found
