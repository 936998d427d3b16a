"""torch's optimisers without torch's compiler, which they would import with their first use.

torch decorates their methods so that the compiler leaves them out, and imports it for that: as long
as `import torch` itself, at every start. Nobody compiles what calls these, so they have the methods
under the decorators. They move the same weights by the same bits.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch


def _plain(method: Callable[..., Any]) -> Any:
    """A method without its decorators, which say by functools.wraps what is under them."""
    return inspect.unwrap(method)


class _Plain(torch.optim.Optimizer):
    add_param_group = _plain(torch.optim.Optimizer.add_param_group)
    zero_grad = _plain(torch.optim.Optimizer.zero_grad)
    state_dict = _plain(torch.optim.Optimizer.state_dict)
    load_state_dict = _plain(torch.optim.Optimizer.load_state_dict)


class Adam(_Plain, torch.optim.Adam):
    """As torch.optim.Adam."""

    step = torch.no_grad()(_plain(torch.optim.Adam.step))


class SGD(_Plain, torch.optim.SGD):
    """As torch.optim.SGD."""

    step = torch.no_grad()(_plain(torch.optim.SGD.step))
