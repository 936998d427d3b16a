"""From a run to a model of a user's own classes: the inner loop on a support folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

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
from fewshot_cli.settings.schema import Colour, Config
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.training import checkpoints
from fewshot_cli.training.seeding import generator
from fewshot_cli.training.setup import device_named, frozen, network, outputs_of


def adapt_run(run: str | Path, support: str | Path, overrides: Sequence[str] = ()) -> Model:
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
    if config.data.regression:
        raise UserError(f"{run}: was trained on data={config.data.name}; expected a run on images")
    checkpoint, state = checkpoints.tested(directory, config.eval.checkpoint)
    form = Form(_shape(config, state), config.data.invert)
    classes, images, labels = support_set(Path(support), form)

    device = device_named(config.device)
    outputs = outputs_of(config, len(classes), len(classes))
    whole = network(config, form.shape, outputs).to(device)
    still, net = whole.split()

    def at_rate(rate: float) -> Algorithm:
        algo = replace(config.algo, inner_lr=rate)
        algorithm = algorithms.build(net, algo, config.iterations, Acceleration(chunk=1))
        checkpoints.fill(checkpoint, algorithm, state, any_ways=True)
        return algorithm

    shown, labels = images.to(device).float() / 255, labels.to(device)
    seen = shown if still is None else frozen(config, still)(shown)
    told = {each.partition("=")[0].strip("+ ") for each in overrides}
    setting, chosen = choose(at_rate, seen, labels, classes, config, told)
    task = TaskBatch(*(field[None] for field in (seen, labels, seen[:0], labels[:0])))
    draws = generator(config.eval.seed, "test inner batches")
    *_, learner = at_rate(setting.rate).adapt(task, setting.steps, draws)
    take_over(whole, net, learner.weights())
    together = config.eval.transductive
    judge = Judge(whole, shown, together)
    return Model(judge, config.model, classes, form, together, device, judge.apart, chosen)


def take_over(whole: models.Network, net: models.Network, weights: list[Tensor]) -> None:
    """Put the weights that a task has adapted in the place of theta's, which have served.

    Args:
        net: the part of the whole network that the weights are of; the head may have more rows.
    """
    *of_body, weight, bias = weights
    head = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
    with torch.no_grad():
        for theta, phi in zip(net.body.parameters(), of_body, strict=True):
            theta.copy_(phi)
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    whole[-1] = head


def _may_change() -> set[str]:
    """How the inner loop goes, and what is adapted."""
    of_the_test = may_change("evaluate")
    of_algorithms = {name for name in of_the_test if name.startswith("algo.")}
    return of_algorithms | {"eval.checkpoint", "eval.transductive", "device"}


def _shape(config: Config, state: checkpoints.State) -> tuple[int, int, int]:
    """Of the images that the run was trained on: grey or in colour, whichever its weights fit."""
    if config.model.sized:
        side = models.image_size(config.model)
        assert side is not None
        return (1 if config.data.colour is Colour.grey else 3), side, side
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
