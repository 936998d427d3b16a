"""Every random draw comes from a generator with a name, so that no draw shifts another."""

from __future__ import annotations

import hashlib

import torch

from fewshot_cli import models
from fewshot_cli.settings.schema import ModelConfig


def derived(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7])


def generator(seed: int, name: str) -> torch.Generator:
    """The generator of one purpose ("train tasks", "inner batches", ...) under a seed."""
    return torch.Generator().manual_seed(derived(seed, name))


def initialised(
    config: ModelConfig, input_shape: tuple[int, ...], outputs: int, seed: int
) -> models.Network:
    """The network with the initial weights of a seed; torch's global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived(seed, "weights"))
        return models.build(config, input_shape, outputs)


def make_deterministic() -> None:
    """Same seed, same numbers: choose cuDNN's kernels by rule, not by stopwatch."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
