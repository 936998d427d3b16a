"""Training images changed a little at each draw, by torchvision's transforms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fewshot_cli.settings.schema import Augment

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def build(config: Augment, size: int) -> Augmentation | None:
    """What changes images `[B, C, S, S]` in 0..1, each by its own draw; None if nothing is asked.

    Args:
        size: S, pixels a side.
    """
    if not (config.flip or config.crop or config.colour):
        return None
    # Here, since torchvision takes a second to import.
    from torchvision.transforms import v2

    transforms = v2.Compose(
        [
            v2.RandomHorizontalFlip(0.5 if config.flip else 0.0),
            v2.RandomCrop(size, padding=config.crop, padding_mode="reflect"),
            v2.ColorJitter(config.colour, config.colour, config.colour),
        ]
    )

    def augment(images: Tensor, generator: torch.Generator) -> Tensor:
        # The transforms draw from torch's global generator, and once for whatever they are given.
        # A copy gives its seed, so that the next tasks are those of a run without augmentation.
        seed = int(torch.randint(2**62, (), generator=generator.clone_state()))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return torch.stack([transforms(image) for image in images])

    return augment
