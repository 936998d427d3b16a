"""Real processes over gloo, on this host."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import TINY, config, names, outcome

pytestmark = pytest.mark.slow  # each process takes seconds to start

HARNESS = Path(__file__).parents[1] / "ranks_of_runs.py"
SETTING = ["threads=1", "data=sinusoid", "model=mlp", "ways=1"]
IMAGES = ["threads=1", "data.image_size=16", "model.channels=8", "eval.every=2"]
# Five tasks in chunks of two: the last one is smaller, and four ranks have one to spare.
CHUNKS = ["batching=stacked", "chunk=2", "meta_batch=5"]
OPTIONS = {
    "reptile, carried Adam": [
        *("algo=reptile", "algo.inner_optimizer=adam", "algo.carry_state=true"),
        *("algo.inner_lr=0.01", "algo.inner_batch=2", "algo.eval_inner_batch=2", "meta_batch=7"),
    ],
    "maml++": [
        *("algo=maml", "algo.multi_step=3", "algo.learn_rates=true"),
        "algo.first_order_iterations=2",
    ],
    "not transductive": ["algo=reptile", "eval.transductive=false"],
    "recompute": ["algo=maml", "recompute=true"],
    "two meta learning rates": ["algo=anil", "algo.backbone_lr=0.0001", "algo.meta_clip=0.1"],
}
RUNS = {
    **{f"{algo} on images": [*TINY, *IMAGES, *CHUNKS, f"algo={algo}"] for algo in names("algo")},
    **{
        f"{algo} on curves": [*TINY, *SETTING, *CHUNKS, f"algo={algo}"]
        for algo in names("algo")
        if not config(f"algo={algo}").algo.classifies
    },
    **{name: [*TINY, *IMAGES, *CHUNKS, *told] for name, told in OPTIONS.items()},
    "patience": [
        *TINY,
        *SETTING,
        *CHUNKS,
        "algo.meta_lr=0.05",
        "eval.every=1",
        "limits.patience=1",
    ],
    "no time": [*TINY, *SETTING, *CHUNKS, "limits.seconds=1e-9"],
    "one chunk": [*TINY, *SETTING, "algo=maml"],
    "one by one": [*TINY, *IMAGES, "algo=fomaml", "batching=sequential"],
}


def by(ranks: int, folder: Path, cache: Path) -> dict[str, Path]:
    """All runs by so many ranks; their folders."""
    places = {name: folder / f"{ranks}" / name for name in RUNS}
    cached = f"cache_dir={cache}"
    work = pickle.dumps([(places[name], config(*told, cached)) for name, told in RUNS.items()])
    store = str(folder / f"store{ranks}")
    started = [
        subprocess.Popen(
            [sys.executable, str(HARNESS), str(rank), str(ranks), store],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(ranks)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write(work)
        process.stdin.close()
    for process in started:
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(300) == 0, said.decode()
    return places


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> dict[int, dict[str, Path]]:
    folder = tmp_path_factory.mktemp("ranks")
    return {ranks: by(ranks, folder, cache_dir) for ranks in (1, 2, 4)}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("ranks", [2, 4])
def test_a_run_has_the_same_bits_by_any_number_of_ranks(
    runs: dict[int, dict[str, Path]], name: str, ranks: int
) -> None:
    assert outcome(runs[ranks][name]) == outcome(runs[1][name])
