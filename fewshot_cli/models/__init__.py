"""Networks, one a file; each has `build(config, input_shape, outputs) -> nn.Module`."""

from __future__ import annotations

from torch import nn

from fewshot_cli import kinds
from fewshot_cli.config import ModelConfig


def build(config: ModelConfig, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """The network that the config names.

    Args:
        input_shape: of one example, without a batch dimension.
        outputs: the number of ways, or 1 for regression.
    """
    net: nn.Module = kinds.call("models", config.kind, "build", config, input_shape, outputs)
    return net
