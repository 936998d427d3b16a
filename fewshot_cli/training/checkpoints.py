"""Checkpoints: written whole or not at all, read without running anything from the file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fewshot_cli.algorithms import Algorithm
from fewshot_cli.config import UserError
from fewshot_cli.runs.directory import atomic

FORMAT = 1


def save(path: Path, algorithm: Algorithm, iteration: int) -> None:
    """theta and what the algorithm carries, after `iteration` meta-updates."""
    state = {
        "format": FORMAT,
        "iteration": iteration,
        "net": algorithm.net.state_dict(),
        "algorithm": algorithm.state_dict(),
    }
    with atomic(path, "wb") as file:
        torch.save(state, file)


def load(path: Path, algorithm: Algorithm) -> int:
    """Put a checkpoint's state into the algorithm; its iteration comes back.

    Raises:
        UserError: the file is missing, damaged, of another format or of another network.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files that are refused in the next line
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] != FORMAT:
            raise UserError(f"{path}: has format {state['format']}, expected {FORMAT}")
        _fill(path, algorithm.net, state["net"])
        algorithm.load_state_dict(state["algorithm"])
        return int(state["iteration"])
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint") from error
    except PermissionError as error:
        raise UserError(f"{path}: no permission to read it") from error
    # torch.load lets errors of many kinds out of a damaged file.
    except Exception as error:
        first = str(error).strip().splitlines()
        why = first[0] if first else type(error).__name__
        raise UserError(f"{path}: expected a whole checkpoint ({why})") from error


def _fill(path: Path, net: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    have = {name: tuple(weight.shape) for name, weight in net.state_dict().items()}
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    for name in sorted(have.keys() | found.keys(), reverse=True):  # the head first
        if have.get(name) != found.get(name):
            raise UserError(
                f"{path}: {name} has shape {found.get(name)}, "
                f"expected {have.get(name)} for this data, model and number of ways"
            )
    net.load_state_dict(weights)
