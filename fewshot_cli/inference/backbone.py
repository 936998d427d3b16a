"""From a few photographs of each class to a model, without a run: a backbone and a head.

The head is one that needs no training: the best of them by leave-one-out on the support set.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fewshot_cli import algorithms, models
from fewshot_cli.algorithms.ncm import NearestMean
from fewshot_cli.data.images.mapped import digest
from fewshot_cli.data.task import TaskBatch
from fewshot_cli.inference.adapted import take_over
from fewshot_cli.inference.images import Form, support_files, support_set
from fewshot_cli.inference.leave_one_out import LeftOut, left_out
from fewshot_cli.inference.model import Judge, Model
from fewshot_cli.inference.unlike import ALIKE, likeness, unlike
from fewshot_cli.models.features import features_of
from fewshot_cli.progress import Progress
from fewshot_cli.settings import compose
from fewshot_cli.settings.errors import UserError, nearest
from fewshot_cli.settings.schema import Config
from fewshot_cli.stacked.acceleration import Acceleration
from fewshot_cli.training.seeding import generator, initialised
from fewshot_cli.training.setup import device_named, frozen

HEADS = ("ncm", "ridge", "logistic")  # the first of the best is taken
FINETUNE = (
    *("algo=finetune", "algo.head=prototypes", "iterations=0", "model.freeze=none"),
    *("model.feature_norm=4", "algo.inner_lr=0.05", "algo.backbone_inner_lr=0.005"),
    "algo.eval_steps=10",
)
# By which the nearest mean's logits are multiplied where no second photograph could tell.
SCALE = 15.0


def adapt_backbone(
    support: str | Path,
    overrides: Sequence[str] = (),
    backbone: str | None = None,
    head: str | None = None,
    finetune: bool = False,
) -> Model:
    """A model of the classes of a support folder, from a pretrained backbone.

    Args:
        support: has a folder for each class, with an image or more.
        overrides: such as "model.weights=FILE" or "device=cpu".
        backbone: an architecture of timm; none: the embedded EfficientNet-Lite0.
        head: ncm, ridge or logistic; none: the best of them by leave-one-out.
        finetune: move all weights by the support set, from the class means on.

    Raises:
        UserError: an argument, an override or an image is wrong.
    """
    if head is not None and head not in HEADS:
        raise UserError(f"--head {head}: expected {nearest(head, HEADS)}")
    if head is not None and finetune:
        raise UserError(f"--head {head}: --finetune has a head of its own; expected one of them")
    chosen = ["model=lite0"] if backbone is None else ["model=timm", f"model.backbone={backbone}"]
    # Half the time or less, for features whose accuracy docs/results.md has beside float32's.
    chosen += FINETUNE if finetune else ["algo=ncm", "precision=bf16"]
    config = compose.job_config([*chosen, *overrides])
    device = device_named(config.device)
    side = models.image_size(config.model)
    assert side is not None
    form = Form((3, side, side), config.data.invert)
    classes, images, labels = support_set(Path(support), form)
    labels = labels.to(device)
    whole = initialised(config.model, form.shape, len(classes), config.seed).to(device)
    if finetune:
        lines, far = [_fine_tune(whole, config, images.to(device), labels)], None
    else:
        features, net = _features(whole, config, images, device)
        of_best, about = _fit(whole, net, features, labels, head)
        lines = [*_domain(features, labels), *about]
        if of_best is not None:
            lines += of_best.mislabelled(support_files(Path(support)), classes)
        far = unlike(features, labels)
    judge = Judge(whole, images[:1].to(device).float() / 255, transductive=False)
    said = "\n".join(lines)
    return Model(judge, config.model, classes, form, False, device, judge.apart, said, far)


def _features(
    whole: models.Network, config: Config, images: Tensor, device: torch.device
) -> tuple[Tensor, models.Network]:
    """What the head sees of the support set, `[B, D]`, and the network's part that learns."""
    still, net = whole.split()
    if still is None:
        raise UserError("model.freeze: expected all; --finetune moves all weights")

    def shown(places: list[int]) -> Tensor:
        return images[places].to(device).float() / 255

    part = frozen(config, still)
    names = [digest(image) for image in images]
    found = features_of(part, names, shown, part.shape(shown([0])))
    with torch.no_grad():
        return net.body(found.to(device)), net


def _fit(
    whole: models.Network, net: models.Network, features: Tensor, labels: Tensor, told: str | None
) -> tuple[LeftOut | None, list[str]]:
    """Give the network the head that is told, or the best by leave-one-out.

    Returns:
        What that head says of images that it was not fitted to, and lines about it.
    """
    found = {
        name: left_out(_head(name, net), features, labels) for name in ([told] if told else HEADS)
    }
    best = max(found, key=lambda name: _goodness(found[name]))
    of_best = found[best]
    scale = SCALE if of_best is None else of_best.scale
    weight, bias = _head(best, net).fitted(features[None], labels[None])
    take_over(whole, net, [scale * weight[0], scale * bias[0]])
    if of_best is None:
        return None, [
            f"Took the head {best}: with one image of each class, nothing can be left out to say "
            "how right it is"
        ]
    tried = ", ".join(
        f"{name} {left.right / len(left.labels):.1%}" for name, left in found.items() if left
    )
    chose = [] if told else [f"Chose the head {best} by leave-one-out ({tried})"]
    return of_best, [*chose, of_best.sureness(chose=told is None)]


def _goodness(left: LeftOut | None) -> tuple[int, float]:
    return (0, 0.0) if left is None else (left.right, -left.loss)


def _head(name: str, net: models.Network) -> NearestMean:
    config = compose.job_config(["model=lite0", f"algo={name}"]).algo
    head = algorithms.build(net, config, 0, Acceleration(chunk=1))
    assert isinstance(head, NearestMean)
    return head


def _fine_tune(whole: models.Network, config: Config, images: Tensor, labels: Tensor) -> str:
    """Move all weights by the support set; a line about it."""
    steps = config.algo.eval_steps
    algorithm = algorithms.build(whole, config.algo, 0, Acceleration(chunk=1))
    shown = images.float() / 255
    task = TaskBatch(*(each[None] for each in (shown, labels, shown[:0], labels[:0])))
    learners = algorithm.adapt(task, steps, generator(config.seed, "fine-tuning"))
    with Progress("Fine-tuning all weights", steps, "steps") as progress:
        for step, learner in enumerate(learners):
            progress.advance(step > 0)
            adapted = learner
    take_over(whole, whole, adapted.weights())
    return f"Fine-tuned all weights in {steps} steps, from the class means on"


def _domain(features: Tensor, labels: Tensor) -> list[str]:
    """A line where the backbone hardly tells these images apart."""
    alike = likeness(features, labels)
    if alike < ALIKE:
        return []
    return [
        f"To this backbone, images of different classes look alike (mean cosine {alike:.2f}; "
        "photographs of different things have about 0.3). Where you have more classes of such "
        "images, train on them: fewshot train data=folder data.root=DIR, then fewshot adapt RUN"
    ]
