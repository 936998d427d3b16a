"""Many tasks adapt at once: every weight gets a leading dimension of T tasks.

The tasks share no weight after that, so the gradient of the *sum* of their losses holds each
task's own gradient, and learn2learn's `adapt` on that sum is `adapt` on each task.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.func import functional_call, vmap

IMAGES_THAT_PAY = 30


class PerTask(nn.Module):
    """A network over `[T, B, ...]`, T tasks with one set of weights each, to `[T, B, outputs]`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.stacked = False

    def stack(self, tasks: int) -> None:
        """Give each task its own weights; their gradients still reach the ones they come from."""
        self.stacked = tasks > 1
        if self.stacked:
            for module in self.net.modules():
                for name, weight in module._parameters.items():
                    if weight is not None:
                        # A plain tensor where a Parameter was, as in learn2learn's own clones.
                        own = weight.expand(tasks, *weight.shape)
                        module._parameters[name] = cast(nn.Parameter, own)

    def forward(self, x: Tensor) -> Tensor:
        if not self.stacked:
            return cast(Tensor, self.net(x[0]))[None]
        weights = dict(self.net.named_parameters())
        run = vmap(lambda own, batch: functional_call(self.net, own, (batch,)))
        return cast(Tensor, run(weights, x))


def chunk_size(net: nn.Module, images: int, on_cpu: bool) -> int:
    """How many tasks to adapt at once, by a rule, so that a config always does the same sums.

    Per-task weights make convolutions grouped ones, which are slow on a CPU once every task has
    many images; everywhere else more tasks at once are faster.

    Args:
        images: the most images of one task that pass the network at once.
    """
    convolves = any(isinstance(module, nn.Conv2d) for module in net.modules())
    return 1 if on_cpu and convolves and images > IMAGES_THAT_PAY else 100
