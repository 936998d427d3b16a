"""Completion of overrides in the shell, by Hydra's own completion."""

from __future__ import annotations

import re

from hydra import initialize_config_module
from hydra._internal.core_plugins.bash_completion import BashCompletion
from hydra.core.global_hydra import GlobalHydra

from fewshot_cli.compose import CONF, VERSION


def overrides(incomplete: str) -> list[str]:
    """What the word under the cursor can become: groups, choices and keys."""
    with initialize_config_module(CONF, version_base=VERSION):
        completion = BashCompletion(GlobalHydra.instance().config_loader())
        found = completion._query("config", incomplete)
    # Hydra writes an enum's value as Schedule.cosine; users write cosine.
    plain = [re.sub(r"=[A-Z]\w*\.(\w+)$", r"=\1", word) for word in found]
    return [word for word in plain if not word.startswith(("hydra", "tuned"))]
