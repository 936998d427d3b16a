"""Networks, one a file; each has `build(config, input_shape, outputs) -> Network`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewshot_cli.settings import choices
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import ModelConfig, Statistics


class Network(nn.Sequential):
    """Layers in a row. The last one is the head: linear, with an output for each class.

    Attributes:
        statistics: by which its batch norm works.
    """

    by_example = True  # no example sees another but in its layers (see stacked/per_task.py)
    statistics = Statistics.batch

    @property
    def body(self) -> nn.Sequential:
        """All but the head; it shares its weights with this network."""
        return nn.Sequential(*list(self)[:-1])

    @property
    def head(self) -> nn.Linear:
        """It shares its weights with this network.

        Raises:
            UserError: the last layer is no linear one.
        """
        head = self[-1]
        if not isinstance(head, nn.Linear):
            raise UserError(f"model: ends in {type(head).__name__}; expected a Linear, its head")
        return head

    @property
    def head_names(self) -> tuple[str, str]:
        """Of the head's weight and bias among all weights, as `state_dict` calls them."""
        *_, name = self._modules
        return f"{name}.weight", f"{name}.bias"

    @property
    def learning(self) -> list[nn.Parameter]:
        """The weights that are not frozen, in their order."""
        return [weight for weight in self.parameters() if weight.requires_grad]

    def split(self) -> tuple[Network | None, Network]:
        """The layers before the first weight that learns, and the others, by their names.

        The first are None where the first layers learn.
        """
        learns = [
            any(weight.requires_grad for weight in layer.parameters()) for layer in self.children()
        ]
        first = learns.index(True)
        if first and isinstance(self[first - 1], FixedNorm):
            first -= 1  # so that the same features serve every length
        if not any(True for layer in list(self)[:first] for _ in layer.parameters()):
            return None, self
        layers = list(self.named_children())
        return self._of(layers[:first]), self._of(layers[first:])

    def begin_with(self, where: str, weights: Mapping[str, Tensor]) -> None:
        """Take the weights of another network: those of its body, and its head's where they fit.

        Args:
            weights: by name; the frozen layers of a pretrained body may be missing.

        Raises:
            UserError: they are of another body; begins with `where`.
        """
        head, theirs = self.head_names, sorted({name.split(".")[0] for name in weights}, key=int)
        last = theirs[-1]
        taken = {
            name: weight for name, weight in weights.items() if not name.startswith(f"{last}.")
        }
        here = self.state_dict()
        for name, weight in taken.items():
            if name not in here or here[name].shape != weight.shape:
                had = tuple(here[name].shape) if name in here else None
                raise UserError(
                    f"init={where}: {name} has shape {tuple(weight.shape)}, expected {had} for "
                    "this model"
                )
        for mine, of in zip(head, ("weight", "bias"), strict=True):
            weight = weights.get(f"{last}.{of}", torch.empty(0))
            if here[mine].shape == weight.shape:
                taken[mine] = weight
        self.load_state_dict(taken, strict=False)

    def _of(self, layers: Iterable[tuple[str, nn.Module]]) -> Network:
        part = Network()
        for name, layer in layers:
            part.add_module(name, layer)
        part.statistics = self.statistics
        return part


class FixedNorm(nn.Module):
    """`[B, D]` to vectors of one length (for 1 the L2-normalised features of Wang et al. 2019)."""

    by_example = True

    def __init__(self, length: float) -> None:
        super().__init__()
        self.length = length

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(x, dim=-1) * self.length


def build(config: ModelConfig, input_shape: tuple[int, ...], outputs: int) -> Network:
    """The network that the config names.

    Args:
        input_shape: of one example, without a batch dimension.
        outputs: the number of ways, or 1 for regression.

    Raises:
        UserError: it, or weights that it begins with, cannot be had.
    """
    net: Network = choices.function("models", config.kind, "build")(config, input_shape, outputs)
    if config.feature_norm is not None:
        statistics = net.statistics
        net = Network(*list(net)[:-1], FixedNorm(config.feature_norm), net.head)
        net.statistics = statistics
    return net


def image_size(config: ModelConfig) -> int | None:
    """Pixels a side of the images that a network wants; None: it takes them as they come.

    Raises:
        UserError: it, or weights that it begins with, cannot be had.
    """
    if not config.sized:
        return None
    size: int = choices.function("models", config.kind, "image_size")(config)
    return size


def digest(net: nn.Module) -> str:
    """Of all weights and statistics of a network."""
    import hashlib

    found = hashlib.sha256()
    for name, weight in net.state_dict().items():
        found.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        found.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]
