"""Features of a frozen network, computed once for each image and kept on disk.

The key is what shapes them: the network's weights, how it computes, and the pixels of the image. A
changed file or weight is another key, so that nothing in the cache is ever stale.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from fewshot_cli.data.images.episodes import ImageTasks
from fewshot_cli.data.task import TaskBatch, TaskShape
from fewshot_cli.models import Network, digest
from fewshot_cli.progress import Progress
from fewshot_cli.settings.errors import UserError

FOLDER = "features"
VERSION = 1  # of what is computed below
# Each batch is as large as any other, so that an image has the same features whatever else is new.
BATCH = 32
SEAL = 8  # bytes


class Frozen:
    """A network that does not learn, over images in [0, 1].

    Args:
        key: what shapes its features besides its weights.
    """

    def __init__(self, net: Network, key: Mapping[str, object], cache_dir: str, bf16: bool) -> None:
        self.net, self.cache_dir, self.bf16 = net, cache_dir, bf16
        whole = {
            **key,
            "version": VERSION,
            "torch": torch.__version__.partition("+")[0],
            "weights": digest(net),
            "layers": list(net._modules),
            "bf16": bf16,
        }
        self.key = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]

    def __call__(self, images: Tensor) -> Tensor:
        """float `[B, C, S, S]` to features `[B, ...]`, float32."""
        found = []
        with (
            torch.no_grad(),
            torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16),
        ):
            for batch in images.split(BATCH):
                full = torch.cat([batch, batch.new_zeros(BATCH - len(batch), *batch.shape[1:])])
                found.append(self.net(full)[: len(batch)].float())
        return torch.cat(found)

    def shape(self, images: Tensor) -> tuple[int, ...]:
        """Of the features of one image, such as the first of these."""
        with torch.no_grad():
            return tuple(self.net(images[:1]).shape[1:])


class FrozenTasks:
    """The tasks of images with the features of a frozen network in their place.

    The classes and images that are drawn are those of `source`.
    """

    def __init__(self, source: ImageTasks, frozen: Frozen) -> None:
        self.source, self.frozen = source, frozen
        self.train_classes = source.train_classes
        blank = torch.zeros(1, *source.input_shape, device=source.device)
        self.input_shape = frozen.shape(blank)
        self._tables: dict[str, Tensor] = {}

    def sample(
        self, split: str, tasks: int, shape: TaskShape, generator: torch.Generator
    ) -> TaskBatch:
        """Draw as `ImageTasks.sample` does."""
        return self.drawn(split, *self.draw(split, tasks, shape, generator), shape, generator)

    def draw(
        self, split: str, tasks: int, shape: TaskShape, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        return self.source.draw(split, tasks, shape, generator)

    def drawn(
        self,
        split: str,
        places: Tensor,
        classes: Tensor,
        shape: TaskShape,
        generator: torch.Generator,
    ) -> TaskBatch:
        """The tasks that `draw` chose; augmented images are new, and so are their features."""
        source = self.source
        if split == "train" and source.augment is not None:
            images = source.examples(split, places, generator)
            features = self.frozen(images.flatten(0, 2)).unflatten(0, places.shape)
        else:
            features = self.features(split)[places.to(source.device)]
        return source.batch(features, classes, shape)

    def features(self, split: str) -> Tensor:
        """Of all images of a split, `[images, ...]`, on the device."""
        if split not in self._tables:
            source = self.source

            def images(places: list[int]) -> Tensor:
                return source.pixels(split, torch.tensor(places)).float() / 255

            found = features_of(self.frozen, source.digests(split), images, self.input_shape)
            self._tables[split] = found.to(source.device)
        return self._tables[split]


def features_of(
    frozen: Frozen,
    names: list[bytes],
    images: Callable[[list[int]], Tensor],
    shape: tuple[int, ...],
) -> Tensor:
    """The features of images, `[B, *shape]`, on the CPU: from the cache, or computed for it.

    What is computed is kept batch by batch, so that an interruption loses one.

    Args:
        names: what tells the B images apart.
        images: gives those at some places, float `[B, C, S, S]` in [0, 1].
        shape: of the features of one image.

    Raises:
        UserError: the cache cannot be written.
    """
    table = np.empty((len(names), *shape), np.float32)
    with _store(frozen) as store:
        missing = _fill(table, names, store)
        if missing:
            with Progress("Computing features (once)", len(missing), "images") as progress:
                for first in range(0, len(missing), BATCH):
                    places = missing[first : first + BATCH]
                    found = frozen(images(places)).cpu().numpy()
                    rows = [
                        (names[at], _sealed(one)) for at, one in zip(places, found, strict=True)
                    ]
                    with store:
                        store.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)
                    progress.advance(len(places))
            _fill(table, names, store)
    return torch.from_numpy(table)


def _fill(table: np.ndarray, names: list[bytes], store: sqlite3.Connection) -> list[int]:
    """Put what the store has into the table; the places of what it lacks, each image once."""
    missing: dict[bytes, int] = {}
    for place, name in enumerate(names):
        row = store.execute("SELECT value FROM features WHERE name = ?", (name,)).fetchone()
        value = row and row[0][:-SEAL]
        if value and len(value) == table[place].nbytes and row[0] == value + _seal(value):
            table[place] = np.frombuffer(value, np.float32).reshape(table.shape[1:])
        else:
            missing.setdefault(name, place)
    return list(missing.values())


def _sealed(features: np.ndarray) -> bytes:
    value = features.tobytes()
    return value + _seal(value)


def _seal(value: bytes) -> bytes:
    """What no damaged value is followed by."""
    return hashlib.blake2b(value, digest_size=SEAL).digest()


@contextmanager
def _store(frozen: Frozen) -> Iterator[sqlite3.Connection]:
    """The database of a frozen network, which one process fills at a time."""
    folder = Path(frozen.cache_dir).expanduser() / FOLDER
    path = folder / f"{frozen.key}.db"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"), closing(sqlite3.connect(path)) as store:
            store.execute("CREATE TABLE IF NOT EXISTS features (name BLOB PRIMARY KEY, value BLOB)")
            yield store
    except (OSError, sqlite3.DatabaseError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(
            f"{path}: {why}; expected a cache that can be written, or `fewshot cache --clear "
            "features`"
        ) from error
