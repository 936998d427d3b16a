"""Several runs by the same ranks, since each start takes seconds; this is one rank.

Its standard input has the runs, pickled: for each the folder and the config.
"""

from __future__ import annotations

import pickle
import sys

import torch.distributed as dist

from fewshot_cli.progress import be_silent
from fewshot_cli.runs.directory import RunDirectory, Unwritten
from fewshot_cli.runs.ranks import Place
from fewshot_cli.stacked.ranks import ALONE
from fewshot_cli.training.ranks import joined
from fewshot_cli.training.run import run

if __name__ == "__main__":
    rank, size, store = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    be_silent()
    runs = pickle.load(sys.stdin.buffer)
    if size == 1:
        for folder, config in runs:
            run(config, RunDirectory(folder), ALONE)
        sys.exit()
    here = Place(rank, size, rank, size, "fewshot")
    with joined(here, dist.FileStore(store, size), runs[0][1], lambda rank, store: None) as all_:
        for folder, config in runs:
            run(config, RunDirectory(folder) if rank == 0 else Unwritten(folder), all_)
