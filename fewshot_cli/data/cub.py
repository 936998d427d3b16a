"""CUB-200-2011 (Wah et al. 2011): 200 species of birds, in the 100/50/50 split of Chen et al."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fewshot_cli.data.images.decoding import images_of, root_of, tasks_of
from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.images.pickles import expect
from fewshot_cli.data.images.tree import scan
from fewshot_cli.settings.schema import DataConfig

SPECIES = 200
HOLDS = (
    "data.root=DIR with the folder CUB_200_2011, unpacked from CUB_200_2011.tgz "
    "(https://www.vision.caltech.edu/datasets/cub_200_2011/)"
)
# Chen et al. 2019, "A closer look at few-shot classification": every other species in the order of
# their numbers trains; of the rest, they are by turns for validation and for the test.
SPLITS = {"train": slice(0, None, 2), "valid": slice(1, None, 4), "test": slice(3, None, 4)}


@dataclass
class CUBConfig(DataConfig):
    counted = True


def load(config: DataConfig, cache_dir: str, device: torch.device) -> ImageTasks:
    """Decode the whole pictures once, in threads; then read them from the cache.

    Raises:
        UserError: a file is missing, damaged, or the folder is not CUB-200-2011.
    """
    assert config.image_size is not None
    root = root_of(config, "CUB_200_2011", HOLDS)
    folder = root / "images"
    expect(folder.is_dir(), folder, HOLDS)
    classes = scan(folder).classes
    expect(len(classes) == SPECIES, folder, f"{SPECIES} folders of images, not {len(classes)}")
    names = sorted(classes)
    decoded = images_of(classes, cache_dir, config.name, config.image_size, config.colour)
    return tasks_of(decoded, {split: names[part] for split, part in SPLITS.items()}, device)
