"""From a run to a model of a user's own classes: the inner loop on a support folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from fewshot_cli import algorithms, models
from fewshot_cli.algorithms.base import Algorithm
from fewshot_cli.data.table import TableConfig
from fewshot_cli.data.tables import reading
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.inference.choosing import choose
from fewshot_cli.inference.images import Form, support_set
from fewshot_cli.inference.model import Judge, Model
from fewshot_cli.inference.of_rows import RowModel
from fewshot_cli.inference.rows import Rows
from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings import compose
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.identity import may_change
from fewshot_cli.settings.schema import Colour, Config
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.training import checkpoints
from fewshot_cli.training.seeding import generator
from fewshot_cli.training.setup import device_named, frozen, network, outputs_of

BATCH_NORMS = nn.BatchNorm1d, nn.BatchNorm2d


def adapt_run(
    run: str | Path, support: str | Path, overrides: Sequence[str] = ()
) -> Model | RowModel:
    """Adapt what a run learned to the classes of a support folder, as its meta-test would.

    A run on a table adapts to a table of support rows: of a class or more, or of one task.

    With two images or more of each class, the steps and the inner rate are chosen by
    cross-validation, unless an override sets them (see choosing.py).

    The classes may be more or fewer than the run's ways: MAML and its kind and Reptile begin with
    a head whose rows are the mean of those that they learned, fine-tuning with a fresh one, and
    prototypical networks have none.

    Args:
        support: has a folder for each class, with an image or more; or is a table.
        overrides: such as "algo.eval_steps=10", "eval.transductive=false" or "device=cpu".

    Raises:
        UserError: the run, an override or an image is wrong.
    """
    directory = RunDirectory(Path(run))
    config = compose.changed_config(directory.config, list(overrides), _may_change())
    checkpoint, state = checkpoints.tested(directory, config.eval.checkpoint)
    device = device_named(config.device)
    told = {each.partition("=")[0].strip("+ ") for each in overrides}
    if config.data.kind == "table":
        rows, classes, x, y = _rows(config, directory).support_set(Path(support))
        scale = rows.kept.target_scale
        unit = None if scale is None else torch.tensor(scale, device=device)
        shape = tuple(x.shape[1:])
        outputs = len(rows.targets) or outputs_of(config, len(classes), len(classes))
    elif config.data.images and not config.data.regression:
        form = Form(_shape(config, state), config.data.invert)
        classes, images, y = support_set(Path(support), form)
        x, unit, shape = images.float() / 255, None, form.shape
        outputs = outputs_of(config, len(classes), len(classes))
    else:
        raise UserError(
            f"{run}: was trained on data={config.data.name}; expected a run on images or a table"
        )
    whole = network(config, shape, outputs).to(device)
    x, y = x.to(device), y.to(device)
    chosen = _adapt(whole, x, y, classes, config, (checkpoint, state), told, unit)
    together = config.eval.transductive
    judge = Judge(whole, x, together, numbers=y.is_floating_point())
    if config.data.kind == "table":
        norms = any(isinstance(layer, BATCH_NORMS) for layer in whole.modules())
        judge = judge if norms else Judge(whole, x, True, judge.numbers)
        apart = judge.apart or not norms
        return RowModel(
            judge, config.model, classes, rows, judge.transductive, device, apart, chosen
        )
    return Model(judge, config.model, classes, form, together, device, judge.apart, chosen)


def _adapt(
    whole: models.Network,
    x: Tensor,
    y: Tensor,
    classes: list[str],
    config: Config,
    tested: tuple[Path, checkpoints.State],
    told: set[str],
    unit: Tensor | None,
) -> str | None:
    """Adapt a network in place to a support set; the line that says what was chosen comes back.

    Args:
        tested: the run's checkpoint.
        told: keys that keep their values.
        unit: of float targets.
    """
    still, net = whole.split()

    def at_rate(rate: float) -> Algorithm:
        algo = replace(config.algo, inner_lr=rate)
        algorithm = algorithms.build(net, algo, config.iterations, Acceleration(chunk=1))
        path, state = tested
        checkpoints.fill(path, algorithm, state, any_ways=True)
        return algorithm

    seen = x if still is None else frozen(config, still)(x)
    setting, chosen = choose(at_rate, seen, y, classes, config, told, unit)
    fields = (field[None] for field in (seen, y, seen[:0], y[:0]))
    task = TaskBatch(*fields, shared=config.data.grouped, unit=unit)
    draws = generator(config.eval.seed, "test inner batches")
    *_, learner = at_rate(setting.rate).adapt(task, setting.steps, draws)
    take_over(whole, net, learner.weights())
    return chosen


def _rows(config: Config, directory: RunDirectory) -> Rows:
    """How a run on a table read it."""
    data = cast(TableConfig, config.data)
    kept = reading.kept_of(str(directory.data))
    assert kept is not None
    targets = reading.names_of(data.target)
    label = None if targets else data.label or "y"
    return Rows(kept, label, targets, data.task)


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
