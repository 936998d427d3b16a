"""All the figures of docs/speed.md, about 20 minutes on 2 cores.

make bench                             on random images
make bench ARGS="--omniglot DIR"       and against learn2learn's pipeline on Omniglot's archives
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import backbones, growth, memory, small, speed
from benchmarks.contest import report

options = argparse.ArgumentParser(prog="make bench", description=__doc__)
options.add_argument("--omniglot", type=Path, help="the folder of Omniglot's two archives")
options.add_argument("--out", type=Path, default=Path("outputs/bench"), help="for CSVs and plot")
given = options.parse_args()
out = given.out
if given.omniglot is not None and not (given.omniglot / "images_background.zip").is_file():
    options.error(f"--omniglot {given.omniglot}: expected images_background.zip there")

if given.omniglot is not None:
    rows = list(speed.pipelines(given.omniglot))
    report(rows, "Whole meta-updates with data, ms", out / "pipelines.csv")
report(list(speed.other_loops()), "On tensors in memory, ms", out / "other_loops.csv")
report(list(speed.limit()), "Against supervised training in one batch, ms", out / "limit.csv")
report(list(speed.every_setting()), "A meta-update on tensors in memory, ms", out / "grid.csv")
small.table(out)
memory.table(out)
backbones.table(out)
growth.main(out)
