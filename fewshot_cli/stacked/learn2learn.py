"""The parts of learn2learn that the algorithms delegate to: its wrappers and its module tools."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from itertools import accumulate
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

from torch import nn

from fewshot_cli.stacked.acceleration import NotInstalledError

# setup.cfg says why it does not come with us.
INSTALL = 'pip install --no-deps learn2learn==0.2.0 --config-settings "--build-option=build_ext"'


def parts(*names: str) -> list[ModuleType]:
    """These modules of learn2learn, without what the packages around them import besides.

    `import learn2learn` wants gym and requests, which nothing here needs, and imports cvxpy and all
    of torchvision's models where they are: 2.4 s of every start. Here the packages that are not
    named themselves stand in `sys.modules` for a moment without having run.

    Raises:
        NotInstalledError: learn2learn is not installed.
    """
    if "learn2learn" in sys.modules:
        return [importlib.import_module(name) for name in names]
    around = {at for name in names for at in accumulate(name.split(".")[:-1], "{}.{}".format)}
    for package in sorted(around - set(names)):
        spec = importlib.util.find_spec(package)
        if spec is None:
            raise NotInstalledError(f"learn2learn is not installed; expected {INSTALL}")
        sys.modules[package] = importlib.util.module_from_spec(spec)
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        # Whoever imports learn2learn later gets all of it.
        for name in [name for name in sys.modules if name.partition(".")[0] == "learn2learn"]:
            del sys.modules[name]


if TYPE_CHECKING:
    from learn2learn.algorithms.maml import MAML, maml_update
    from learn2learn.algorithms.meta_sgd import MetaSGD
    from learn2learn.utils import clone_module, detach_module
else:
    _utils, _maml, _meta_sgd = parts(
        "learn2learn.utils", "learn2learn.algorithms.maml", "learn2learn.algorithms.meta_sgd"
    )
    MAML, MetaSGD, maml_update = _maml.MAML, _meta_sgd.MetaSGD, _maml.maml_update
    clone_module, detach_module = _utils.clone_module, _utils.detach_module

Wrapper: TypeAlias = MAML | MetaSGD

__all__ = [
    "MAML",
    "MetaSGD",
    "Wrapper",
    "clone_module",
    "detach_module",
    "maml_update",
    "parts",
    "wrap",
]


def wrap(module: nn.Module, lr: float, first_order: bool) -> MAML:
    """learn2learn's MAML, with errors of the inner step let through.

    Without `allow_nograd`, its `adapt` swallows them and fails on the gradients that it lacks.
    """
    return MAML(module, lr, first_order=first_order, allow_unused=False, allow_nograd=True)
