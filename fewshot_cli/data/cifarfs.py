"""CIFAR-FS (Bertinetto et al. 2019): the classes of CIFAR-100, split at random into 64/16/20."""

from __future__ import annotations

import torch

from fewshot_cli.data import cifar100
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.settings.schema import DataConfig

# The authors' split as torchmeta's assets/cifar100/cifar-fs lists it; all other classes train.
VALID = [
    *("beaver", "beetle", "butterfly", "camel", "cattle", "crab", "crocodile", "flatfish", "lamp"),
    *("maple_tree", "motorcycle", "otter", "sea", "shark", "television", "tractor"),
]
TEST = [
    *("baby", "bed", "bicycle", "chimpanzee", "fox", "leopard", "man", "pickup_truck", "plain"),
    *("poppy", "rocket", "rose", "snail", "sweet_pepper", "table", "telephone", "wardrobe"),
    *("whale", "woman", "worm"),
]


def load(config: DataConfig, cache_dir: str, device: torch.device) -> ImageTasks:
    """Read CIFAR-100; raises UserError as `cifar100.tasks` does."""

    def split_of(name: str, superclass: str) -> str:
        return "valid" if name in VALID else "test" if name in TEST else "train"

    return cifar100.tasks(config, device, split_of)
