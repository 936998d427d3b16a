"""The parts of learn2learn that the algorithms delegate to, imported without gym's banner."""

from __future__ import annotations

import contextlib
import io
import warnings

from torch import nn

with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from learn2learn import clone_module, detach_module
    from learn2learn.algorithms import MAML

__all__ = ["MAML", "clone_module", "detach_module", "wrap"]


def wrap(module: nn.Module, lr: float, first_order: bool) -> MAML:
    """learn2learn's MAML, with errors of the inner step let through.

    Without `allow_nograd`, its `adapt` swallows them and fails on the gradients that it lacks.
    """
    return MAML(module, lr, first_order=first_order, allow_unused=False, allow_nograd=True)
