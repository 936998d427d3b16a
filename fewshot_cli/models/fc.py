"""The name that `kind: mlp` with `norm: true` had in the first releases; it goes with version 2."""

from __future__ import annotations

from fewshot_cli.models import Network, mlp
from fewshot_cli.settings.schema import ModelConfig


def build(config: ModelConfig, input_shape: tuple[int, ...], outputs: int) -> Network:
    shared = {name: getattr(config, name) for name in ("name", "kind", "hidden")}
    return mlp.build(mlp.MLPConfig(**shared, norm=True), input_shape, outputs)
