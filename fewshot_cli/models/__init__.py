"""Networks, one a file; each has `build(config, input_shape, outputs) -> Network`."""

from __future__ import annotations

from torch import nn

from fewshot_cli.settings import choices
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import ModelConfig


class Network(nn.Sequential):
    """Layers in a row. The last one is the head: linear, with an output for each class."""

    by_example = True  # no example sees another but in its layers (see stacked/per_task.py)

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
        return f"{len(self) - 1}.weight", f"{len(self) - 1}.bias"


def build(config: ModelConfig, input_shape: tuple[int, ...], outputs: int) -> Network:
    """The network that the config names.

    Args:
        input_shape: of one example, without a batch dimension.
        outputs: the number of ways, or 1 for regression.
    """
    net: Network = choices.function("models", config.kind, "build")(config, input_shape, outputs)
    return net
