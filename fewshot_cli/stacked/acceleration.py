"""How to compute a meta-update. But for rounding, none of it changes what is computed."""

from __future__ import annotations

from dataclasses import dataclass

from fewshot_cli.stacked.ranks import ALONE, Ranks

EVERY_TASK = 2**31


class NotInstalledError(ModuleNotFoundError):
    """learn2learn is not there; says how it comes."""


@dataclass(frozen=True)
class Acceleration:
    chunk: int = EVERY_TASK  # tasks of a batch that adapt at once (see stacking.py)
    compile: bool = False  # see compiled.py
    recompute: bool = False  # see recompute.py
    bf16: bool = False  # layers in bfloat16 where torch.autocast thinks that safe
    ranks: Ranks = ALONE  # the processes that share the work (see ranks.py)
