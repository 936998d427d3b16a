"""Many tasks adapt at once: every weight gets a leading dimension of T tasks.

The tasks share no weight after that, so the gradient of the *sum* of their losses holds each
task's own gradient, and learn2learn's `adapt` on that sum is `adapt` on each task.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from fewshot_cli.stacked import convolution, per_task
from fewshot_cli.stacked.learn2learn import clone_module

MANY_IMAGES = 20
AT_ONCE = {"cpu": 2**25, "cuda": 2**30}  # bytes


class PerTask(nn.Module):
    """A network over `[T, B, ...]`, T tasks with one set of weights each, to `[T, B, outputs]`."""

    def __init__(self, net: nn.Module, bf16: bool = False) -> None:
        super().__init__()
        self.net, self.bf16 = net, bf16
        self.stacked = False
        self.convolves = convolves(net)
        self.has_groups = convolution.has_groups(net)
        self.covered = per_task.covers(net)

    def stack(self, tasks: int) -> None:
        """Give each task its own weights, once; their gradients reach the ones they come from."""
        if self.stacked:
            return
        self.stacked = tasks > 1
        if self.stacked:
            self.take([weight.expand(tasks, *weight.shape) for weight in self.parameters()])

    def copies(self, tasks: int) -> PerTask:
        """Copies with one set of weights, each in front of a task, which is a batch of its own."""
        copy: PerTask = clone_module(self)
        copy.stack(tasks)
        return copy

    def weights(self) -> list[Tensor]:
        """`[T, ...]` each, in the order of the network's own; as they are for one task."""
        return list(self.parameters())

    def learning(self) -> list[Tensor]:
        """Those of `weights` that are not frozen."""
        return [weight for weight in self.parameters() if weight.requires_grad]

    def part(self, of: nn.Module) -> PerTask:
        """A part of the network with these very weights."""
        part = PerTask(of, self.bf16)
        part.stacked = self.stacked
        return part

    def hold(self, weights: list[Tensor]) -> None:
        """Take other tensors for those of `learning`, in their order."""
        others = iter(weights)
        self.take([next(others) if old.requires_grad else old for old in self.parameters()])

    def take(self, weights: list[Tensor]) -> None:
        """Take other tensors for all weights, in the order of `parameters()`."""
        # By identity, since two layers may share a weight.
        taken = {id(old): new for old, new in zip(self.parameters(), weights, strict=True)}
        for module in self.net.modules():
            for name, weight in module._parameters.items():
                if weight is not None:
                    # A plain tensor where a Parameter was, as in learn2learn's own clones.
                    module._parameters[name] = cast(nn.Parameter, taken[id(weight)])

    def forward(self, x: Tensor) -> Tensor:
        with ExitStack() as around:
            around.enter_context(torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16))
            if self.has_groups:
                around.enter_context(convolution.FastGroups())
            outputs = self._forward(x)
        return outputs.to(x.dtype)

    def _forward(self, x: Tensor) -> Tensor:
        if not self.stacked:
            return cast(Tensor, self.net(x[0]))[None]
        many = self.convolves and (x.shape[1] > MANY_IMAGES or not self.covered)
        if self.covered and not many:
            with per_task.PerTaskLayers():
                return cast(Tensor, self.net(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
        weights = dict(self.net.named_parameters())
        if many:
            # One task fills the cores: torch's own convolutions, a pass a task, are the fastest.
            own = zip(*(weight.unbind() for weight in weights.values()), strict=True)
            passes = [
                functional_call(self.net, dict(zip(weights, task, strict=True)), (images,))
                for task, images in zip(own, x.unbind(), strict=True)
            ]
            return torch.stack(passes)
        run = vmap(lambda own, batch: functional_call(self.net, own, (batch,)))
        return cast(Tensor, run(weights, x))


class Joined:
    """Two networks over `[T, B, ...]`, one behind the other."""

    def __init__(self, first: PerTask, second: PerTask) -> None:
        self.first, self.second = first, second

    def __call__(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.second(self.first(x))
        return outputs

    def weights(self) -> list[Tensor]:
        return [*self.first.weights(), *self.second.weights()]


def convolves(net: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv1d | nn.Conv2d) for module in net.modules())


def chunk_size(
    net: nn.Module, input_shape: tuple[int, ...], batches: list[int], device: torch.device
) -> int:
    """How many tasks to adapt at once, by a rule, so that a config always does the same sums.

    On a CPU as many as keep the weights, or what the layers put out, in the cores' caches; on
    a GPU as many as are sure to fit. Where that is one task, it is learn2learn's own loop.

    Args:
        batches: how many examples of one task pass the network at once, in each kind of pass.
    """
    if convolves(net) and not per_task.covers(net):
        return 1  # each task has a pass of its own anyway
    together = [size for size in batches if size <= MANY_IMAGES or not convolves(net)]
    if not together:
        return 1
    examples = torch.zeros(max([2, *together]), *input_shape, device=device)
    floats = 0

    def count(module: nn.Module, given: object, put_out: Tensor) -> None:
        nonlocal floats
        floats += put_out.numel()
        if isinstance(module, nn.Conv1d | nn.Conv2d):  # and the patches that it unfolds
            floats += put_out[:, 0].numel() * module.weight[0].numel()

    leaves = [module for module in net.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(count) for module in leaves]
    with torch.no_grad():
        net(examples)
    for hook in hooks:
        hook.remove()
    weights = sum(weight.numel() for weight in net.parameters())
    a_task = examples.element_size() * max(weights, floats)
    return max(1, AT_ONCE[device.type] // a_task)
