"""Training images changed a little at each draw: all at once, or one by one by torchvision."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from fewshot_cli.settings.schema import Augment

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def build(config: Augment, size: int) -> Augmentation | None:
    """What changes images `[B, C, S, S]` in 0..1, each by its own draw; None if nothing is asked.

    Args:
        size: S, pixels a side.
    """
    one_by_one = config.flip or config.crop or config.colour
    if not (one_by_one or config.warp):
        return None
    transforms = _transforms(config, size) if one_by_one else None

    def augment(images: Tensor, generator: torch.Generator) -> Tensor:
        # A copy gives the seed, so that the next tasks are those of a run without augmentation.
        seed = int(torch.randint(2**62, (), generator=generator.clone_state()))
        if config.warp:
            images = warped(images, config.warp, torch.Generator().manual_seed(seed))
        if transforms is None:
            return images
        # They draw from torch's global generator, and once for whatever they are given.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return torch.stack([transforms(image) for image in images])

    return augment


def _transforms(config: Augment, size: int) -> Callable[[Tensor], Tensor]:
    # Here, since torchvision takes a second to import.
    from torchvision.transforms import v2

    composed: Callable[[Tensor], Tensor] = v2.Compose(
        [
            v2.RandomHorizontalFlip(0.5 if config.flip else 0.0),
            v2.RandomCrop(size, padding=config.crop, padding_mode="reflect"),
            v2.ColorJitter(config.colour, config.colour, config.colour),
        ]
    )
    return composed


def warped(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Each of `[B, C, S, S]` turned, stretched, sheared and moved a little.

    The identity `[[1, 0, 0], [0, 1, 0]]` plus six numbers, uniform in +-`share`, says from where in
    the image, which reaches from -1 to 1, each pixel comes; beyond the edge it goes on as there.
    """
    identity = torch.eye(2, 3)
    change = 2 * torch.rand(len(images), 2, 3, generator=generator) - 1
    maps = (identity + share * change).to(images)
    where = functional.affine_grid(maps, list(images.shape), align_corners=False)
    return functional.grid_sample(images, where, padding_mode="border", align_corners=False)
