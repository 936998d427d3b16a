from __future__ import annotations

import torch

from fewshot_cli.inference.least_sure import CLASSES, OF_A_CLASS, SIDE, LeastSure, thumbnail


def test_in_batches_as_at_once_and_never_more_than_a_sheet_shows() -> None:
    generator = torch.Generator().manual_seed(0)
    said = torch.rand(3000, CLASSES + 5, generator=generator).softmax(-1)
    said[:, 7] += 0.01  # which many are taken for
    images = torch.arange(3000).remainder(256).to(torch.uint8)[:, None, None, None]
    at_once, in_batches = LeastSure(), LeastSure()
    at_once.add(images, said)
    for some, own in zip(images.split(64), said.split(64), strict=True):
        in_batches.add(some, own)
        assert len(in_batches.thumbnails) <= OF_A_CLASS * CLASSES
    assert list(at_once.thumbnails) == list(in_batches.thumbnails)
    assert all(int(pixels) == image % 256 for image, pixels in in_batches.thumbnails.items())

    sure, classes = said.max(-1)
    taken = sorted(set(classes.tolist()))
    assert len(taken) > CLASSES
    for place in taken:
        of_class = (classes == place).nonzero().flatten().tolist()
        least = sorted(of_class, key=lambda image: float(sure[image]))[:OF_A_CLASS]
        expected = least if place in taken[:CLASSES] else []
        assert [image for image in at_once.thumbnails if image in of_class] == expected
        assert place != 7 or len(of_class) > OF_A_CLASS


def test_a_large_image_becomes_small_and_holds_no_batch() -> None:
    batch = torch.full((64, 3, 2 * SIDE, 2 * SIDE), 200, dtype=torch.uint8)
    small = thumbnail(batch[5])
    assert torch.equal(small, torch.full((3, SIDE, SIDE), 200, dtype=torch.uint8))
    as_it_is = thumbnail(batch[5, :, :8, :8])
    assert as_it_is.untyped_storage().nbytes() == 3 * 8 * 8
