"""Completion of overrides in the shell, by Hydra's own completion."""

from __future__ import annotations

import re

from fewshot_cli.settings import hydra_private
from fewshot_cli.settings.compose import initialize


def overrides(incomplete: str) -> list[str]:
    """What the word under the cursor can become: groups, choices and keys."""
    with initialize():
        found = hydra_private.completions(incomplete)
    # Hydra writes an enum's value as Schedule.cosine; users write cosine.
    plain = [re.sub(r"=[A-Z]\w*\.(\w+)$", r"=\1", word) for word in found]
    return [word for word in plain if not word.startswith(("hydra", "tuned"))]
