"""FC100 (Oreshkin et al. 2018): the superclasses of CIFAR-100, 12 to train, 4 and 4 to evaluate."""

from __future__ import annotations

import torch

from fewshot_cli.data import cifar100
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.settings.schema import DataConfig

# Superclasses 8, 11, 13, 16 and 0, 7, 12, 14 of the paper's supplement; the others train.
VALID = [
    *("large_carnivores", "large_omnivores_and_herbivores"),
    *("non-insect_invertebrates", "small_mammals"),
]
TEST = ["aquatic_mammals", "insects", "medium_mammals", "people"]


def load(config: DataConfig, cache_dir: str, device: torch.device) -> ImageTasks:
    """Read CIFAR-100; raises UserError as `cifar100.tasks` does."""

    def split_of(name: str, superclass: str) -> str:
        return "valid" if superclass in VALID else "test" if superclass in TEST else "train"

    return cifar100.tasks(config, device, split_of)
