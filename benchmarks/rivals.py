"""What fewshot is measured against: learn2learn as its users run it, torch.func, the limit."""

from __future__ import annotations

import copy
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torchvision import transforms
from torchvision.datasets import Omniglot

from fewshot_cli.data.task import TaskBatch, losses
from fewshot_cli.stacked import learn2learn

# `learn2learn.nn` is what its networks look into when they are built.
_, networks, _, datasets, pipeline, steps_of_tasks, steps_of_images = learn2learn.parts(
    "learn2learn.nn",
    "learn2learn.vision.models.cnn4",
    "learn2learn.data",  # whose modules name one another through it
    "learn2learn.data.meta_dataset",
    "learn2learn.data.task_dataset",
    "learn2learn.data.transforms",
    "learn2learn.vision.transforms",
)
OmniglotCNN, OmniglotFC = networks.OmniglotCNN, networks.OmniglotFC

Task = tuple[Tensor, Tensor, Tensor, Tensor]  # support x, y, query x, y


def tasks_in_memory(tasks: TaskBatch) -> list[Task]:
    fields = tasks.support_x, tasks.support_y, tasks.query_x, tasks.query_y
    return list(zip(*(field.unbind() for field in fields), strict=True))


def loss_of(outputs: Tensor, targets: Tensor) -> Tensor:
    return losses(outputs[None], targets[None])[0]


# learn2learn's examples, task by task


def maml_loop(
    net: nn.Module, tasks: Callable[[], list[Task]], lr: float, steps: int, first_order: bool
) -> Callable[[], None]:
    """A meta-update as in learn2learn's examples/vision/maml_omniglot.py."""
    maml = learn2learn.MAML(net, lr=lr, first_order=first_order)
    optimizer = torch.optim.Adam(maml.parameters(), 0.003)

    def meta_update() -> None:
        optimizer.zero_grad()
        batch = tasks()
        for support_x, support_y, query_x, query_y in batch:
            learner = maml.clone()
            for _ in range(steps):
                learner.adapt(loss_of(learner(support_x), support_y))
            outputs = learner(query_x)
            loss = loss_of(outputs, query_y)
            if not query_y.is_floating_point():
                (outputs.argmax(1) == query_y).float().mean().item()
            loss.backward()
        for weight in maml.parameters():
            assert weight.grad is not None
            weight.grad.data.mul_(1.0 / len(batch))
        optimizer.step()

    return meta_update


def meta_test_loop(net: nn.Module, tasks: list[Task], lr: float, steps: int) -> Callable[[], float]:
    """Adapt to every task by `steps` steps and take the query accuracy, as the examples do."""
    maml = learn2learn.MAML(net, lr=lr, first_order=True)

    def meta_test() -> float:
        right = 0.0
        for support_x, support_y, query_x, query_y in tasks:
            learner = maml.clone()
            for _ in range(steps):
                learner.adapt(loss_of(learner(support_x), support_y))
            with torch.no_grad():
                right += (learner(query_x).argmax(1) == query_y).float().mean().item()
        return right / len(tasks)

    return meta_test


def reptile_loop(
    net: nn.Module, tasks: Callable[[], list[Task]], lr: float, steps: int, batch: int
) -> Callable[[], None]:
    """A meta-update as in learn2learn's examples/vision/reptile_miniimagenet.py.

    A deep copy for each task, Adam with beta1 = 0 whose state goes from task to task.
    """
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    adam_state = torch.optim.Adam(net.parameters(), lr, betas=(0.0, 0.999)).state_dict()

    def meta_update() -> None:
        nonlocal adam_state
        drawn = tasks()
        for weight in net.parameters():
            weight.grad = torch.zeros_like(weight)
        for support_x, support_y, query_x, query_y in drawn:
            learner = copy.deepcopy(net)
            adam = torch.optim.Adam(learner.parameters(), lr, betas=(0.0, 0.999))
            adam.load_state_dict(adam_state)
            for _ in range(steps):
                chosen = torch.randint(len(support_x), size=(batch,))
                adam.zero_grad()
                loss_of(learner(support_x[chosen]), support_y[chosen]).backward()
                adam.step()
            adam_state = adam.state_dict()
            with torch.no_grad():
                (learner(query_x).argmax(1) == query_y).float().mean().item()
            for weight, adapted in zip(net.parameters(), learner.parameters(), strict=True):
                assert weight.grad is not None
                weight.grad.data.add_(weight.data - adapted.data, alpha=1 / len(drawn))
        optimizer.step()

    return meta_update


# learn2learn's pipeline: its task data set over the same images


class Unpacked(Omniglot):  # type: ignore[misc]
    """torchvision's own, which also takes archives that were packed again."""

    def _check_integrity(self) -> bool:
        return True


def omniglot_pipeline(
    archives: Path, folder: Path, ways: int, shots: int, queries: int
) -> Callable[[int], list[Task]]:
    """learn2learn's Omniglot benchmark (vision/benchmarks/omniglot_benchmark.py), opened by hand.

    Args:
        archives: where images_background.zip and images_evaluation.zip are.
        folder: where to unpack them.
    """
    for name in ("images_background", "images_evaluation"):
        if not (folder / "omniglot-py" / name).is_dir():
            with zipfile.ZipFile(archives / f"{name}.zip") as archive:
                archive.extractall(folder / "omniglot-py")
    prepare = transforms.Compose(
        [
            transforms.Resize(28, interpolation=Image.Resampling.LANCZOS),
            transforms.ToTensor(),
            lambda x: 1.0 - x,
        ]
    )
    background = Unpacked(folder, background=True, transform=prepare)
    characters = len(background._characters)
    evaluation = Unpacked(
        folder, background=False, transform=prepare, target_transform=lambda y: y + characters
    )
    whole = datasets.MetaDataset(torch.utils.data.ConcatDataset((background, evaluation)))
    classes = list(range(1623))
    random.Random(0).shuffle(classes)
    train = datasets.FilteredMetaDataset(whole, labels=classes[:1100])
    steps = [
        steps_of_tasks.FusedNWaysKShots(train, n=ways, k=shots + queries),
        steps_of_tasks.LoadData(train),
        steps_of_tasks.RemapLabels(train),
        steps_of_tasks.ConsecutiveLabels(train),
        steps_of_images.RandomClassRotation(train, [0.0, 90.0, 180.0, 270.0]),
    ]
    drawn = pipeline.TaskDataset(train, task_transforms=steps, num_tasks=20000)
    support = torch.zeros(ways, shots + queries, dtype=torch.bool)
    support[:, :shots] = True
    support = support.flatten()

    def sample(tasks: int) -> list[Task]:
        batch = []
        for _ in range(tasks):
            x, y = drawn.sample()
            batch.append((x[support], y[support], x[~support], y[~support]))
        return batch

    return sample


# The functional peer: torch.func without learn2learn


def functional_maml(
    net: nn.Module, tasks: TaskBatch, lr: float, steps: int, first_order: bool
) -> Callable[[], None]:
    """vmap over tasks of grad, as in torch.func's own tutorial on per-sample gradients."""
    theta = dict(net.named_parameters())
    optimizer = torch.optim.Adam(net.parameters(), 0.003)

    def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return loss_of(functional_call(net, weights, (x,)), y)

    def after_adaptation(weights: dict[str, Tensor], *task: Tensor) -> Tensor:
        support_x, support_y, query_x, query_y = task
        for _ in range(steps):
            gradient = grad(loss)(weights, support_x, support_y)
            if first_order:
                gradient = {name: each.detach() for name, each in gradient.items()}
            weights = {name: weights[name] - lr * gradient[name] for name in weights}
        return loss(weights, query_x, query_y)

    def whole(weights: dict[str, Tensor]) -> Tensor:
        fields = tasks.support_x, tasks.support_y, tasks.query_x, tasks.query_y
        return vmap(after_adaptation, in_dims=(None, 0, 0, 0, 0))(weights, *fields).mean()

    def meta_update() -> None:
        gradients = grad(whole)({name: weight.detach() for name, weight in theta.items()})
        for name, weight in theta.items():
            weight.grad = gradients[name]
        optimizer.step()

    return meta_update


# The limit: the same passes as supervised training in one batch


def supervised(net: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """Forward, backward and a step of Adam on all the images at once."""
    optimizer = torch.optim.Adam(net.parameters(), 0.003)

    def update() -> None:
        optimizer.zero_grad()
        loss_of(net(x), y).backward()
        optimizer.step()

    return update


def matched_images(tasks: int, support: int, query: int, steps: int, first_order: bool) -> int:
    """How many images' forward and backward passes cost as many products as a meta-update.

    A forward pass is one product a layer, a backward pass two: a training pass is three. A first-
    order inner step is one training pass of the support set. Second order adds the derivative of
    each of its three products, two more products each: nine in all, so three training passes.
    """
    return tasks * (query + steps * support * (1 if first_order else 3))


def epoch(tasks: TaskBatch, images: int) -> tuple[Tensor, Tensor]:
    """The tasks' query images again and again, until there are `images`."""
    x, y = tasks.query_x.flatten(0, 1), tasks.query_y.flatten()
    rows = torch.arange(images) % len(x)
    return x[rows], y[rows]
