"""From a run to a model of a user's own classes: the inner loop on a support folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fewshot_cli import algorithms, models
from fewshot_cli.algorithms.base import Algorithm
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.inference.choosing import choose
from fewshot_cli.inference.images import Form, support_set
from fewshot_cli.inference.model import Judge, Model
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings import compose
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.identity import may_change
from fewshot_cli.settings.schema import Config
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.training import checkpoints
from fewshot_cli.training.seeding import generator
from fewshot_cli.training.setup import device_named


def adapt(run: str | Path, support: str | Path, overrides: Sequence[str] = ()) -> Model:
    """Adapt what a run learned to the classes of a support folder, as its meta-test would.

    With two images or more of each class, the steps and the inner rate are chosen by
    cross-validation, unless an override sets them (see choosing.py).

    The classes may be more or fewer than the run's ways: MAML and its kind and Reptile begin with
    a head whose rows are the mean of those that they learned, fine-tuning with a fresh one, and
    prototypical networks have none.

    Args:
        support: has a folder for each class, with an image or more.
        overrides: such as "algo.eval_steps=10", "eval.transductive=false" or "device=cpu".

    Raises:
        UserError: the run, an override or an image is wrong.
    """
    directory = RunDirectory(Path(run))
    config = compose.changed_config(directory.config, list(overrides), _may_change())
    if config.data.image_size is None:
        raise UserError(f"{run}: was trained on data={config.data.name}; expected a run on images")
    checkpoint, state = checkpoints.tested(directory, config.eval.checkpoint)
    form = Form(_shape(config, state), config.data.invert)
    classes, images, labels = support_set(Path(support), form)

    device = device_named(config.device)
    net = models.build(config.model, form.shape, len(classes)).to(device)

    def at_rate(rate: float) -> Algorithm:
        algo = replace(config.algo, inner_lr=rate)
        algorithm = algorithms.build(net, algo, config.iterations, Acceleration(chunk=1))
        checkpoints.fill(checkpoint, algorithm, state, any_ways=True)
        return algorithm

    shown, labels = images.to(device).float() / 255, labels.to(device)
    told = {each.partition("=")[0].strip("+ ") for each in overrides}
    setting, chosen = choose(at_rate, shown, labels, classes, config, told)
    task = TaskBatch(*(field[None] for field in (shown, labels, shown[:0], labels[:0])))
    draws = generator(config.eval.seed, "test inner batches")
    *_, learner = at_rate(setting.rate).adapt(task, setting.steps, draws)
    with torch.no_grad():  # theta has served
        for weight, phi in zip(net.parameters(), learner.weights(), strict=True):
            weight.copy_(phi)
    together = config.eval.transductive
    judge = Judge(net, shown, together)
    return Model(judge, config.model, classes, form, together, device, chosen)


def _may_change() -> set[str]:
    """How the inner loop goes, and what is adapted."""
    of_the_test = may_change("evaluate")
    of_algorithms = {name for name in of_the_test if name.startswith("algo.")}
    return of_algorithms | {"eval.checkpoint", "eval.transductive", "device"}


def _shape(config: Config, state: checkpoints.State) -> tuple[int, int, int]:
    """Of the images that the run was trained on: grey or in colour, whichever its weights fit."""
    size = config.data.image_size
    assert size is not None
    for shape in ((1, size, size), (3, size, size)):
        with torch.device("meta"):
            net = models.build(config.model, shape, outputs=1)
        if _fits(state["net"], net):
            return shape
    raise UserError(f"model={config.model.name}: is not the network of this run's checkpoint")


def _fits(weights: dict[str, Tensor], net: models.Network) -> bool:
    """Whether weights are of a network, whatever the number of its outputs."""
    here, outputs = net.state_dict(), dict.fromkeys(net.head_names, 1)
    return weights.keys() == here.keys() and all(
        weight.shape[outputs.get(name, 0) :] == here[name].shape[outputs.get(name, 0) :]
        for name, weight in weights.items()
    )
