"""Features of a frozen network as `.npz`, for `data=table`: `x [n, D]`, `y [n]`, `split [n]`.

    python -m benchmarks.features caltech101.npz data.root=DIR model.image_size=84

The other words are those of `fewshot train data=folder model=lite0 algo=ncm`: each image of each
split becomes a row. What is computed is kept in the cache, so that a second file takes seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from fewshot_cli.data.images.splits import SPLITS
from fewshot_cli.models.features import FrozenTasks
from fewshot_cli.settings.compose import job_config
from fewshot_cli.settings.errors import UserError
from fewshot_cli.training.setup import prepare


def write(file: Path, overrides: list[str]) -> None:
    """Leave the features, and the names of the classes and splits, of all images.

    Raises:
        UserError: the data or the network cannot be used, or the network does not freeze anything.
    """
    config = job_config(["data=folder", "model=lite0", "algo=ncm", *overrides])
    source = prepare(config, SPLITS).source
    if not isinstance(source, FrozenTasks):
        raise UserError(f"model={config.model.name}: is not frozen; expected model.freeze=all")
    sizes = source.source.sizes
    splits = [part for part in SPLITS if part != "valid" or sizes["valid"] != sizes["train"]]
    x = [source.features(part).flatten(1).cpu().numpy() for part in splits]
    y = [name for part in splits for name, count in sizes[part].items() for _ in range(count)]
    of_rows = np.repeat(splits, [len(part) for part in x])
    np.savez(file, x=np.concatenate(x), y=np.array(y), split=of_rows)


if __name__ == "__main__":
    try:
        write(Path(sys.argv[1]), sys.argv[2:])
    except UserError as error:
        sys.exit(f"benchmarks.features: {error}")
