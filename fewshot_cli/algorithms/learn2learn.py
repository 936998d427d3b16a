"""The parts of learn2learn that the algorithms delegate to, imported without gym's banner."""

from __future__ import annotations

import contextlib
import io
import warnings

with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import learn2learn

MAML = learn2learn.algorithms.MAML
clone_module = learn2learn.clone_module
detach_module = learn2learn.detach_module

__all__ = ["MAML", "clone_module", "detach_module"]
