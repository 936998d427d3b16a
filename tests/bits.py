"""Do all kinds of runs leave the same bits here as at another commit? `make bits COMMIT=...`

Both trees run the same commands on this machine, side by side, with one thread each: every
algorithm, data source and model that the other commit has, the ways to compute them, a resume,
a sweep, an evaluation and an adaptation.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from helpers import TINY, VERBS, choosing, little_folder, little_omniglot, metrics
from torch import Tensor

CHECKOUT = Path(__file__).parents[1]
SAID = "said.txt"
WAYS_TO_COMPUTE = {
    "stacked": ["algo=maml", "batching=stacked", "chunk=2"],
    "sequential": ["algo=fomaml", "batching=sequential"],
    "recomputed": ["algo=maml", "recompute=true", "algo.inner_steps=3"],
    "compiled": ["algo=maml", "model=mlp", "compile=true"],
    "in bfloat16": ["algo=reptile", "precision=bf16"],
    "MAML++": ["algo=maml", "algo.learn_rates=true", "algo.multi_step=3", "algo.inner_steps=2"],
    "one by one": ["algo=reptile", "eval.transductive=false"],
    "the head alone": ["algo=finetune", "algo.layers=head"],
    "clipped": ["algo=metasgd", "algo.meta_clip=0.001", "algo.meta_schedule=linear"],
}


def commands(conf: Path, folder: Path) -> list[list[str]]:
    """What to run, for the choices of a tree whose groups are in `conf`.

    Args:
        folder: where data sets and images that the runs need are made.
    """

    def choices(group: str) -> list[str]:
        return sorted(path.stem for path in (conf / group).glob("*.yaml"))

    support = little_folder(folder / "support", classes=3)
    judging = ["--support", str(support), "--query", str(support)]
    setting = ["algo.eval_steps=3", "algo.inner_lr=0.1"]  # which some commits choose themselves
    little = choosing("folder", folder)
    classes = ["data.classes.train=11", "data.classes.valid=5", "data.classes.test=16"]
    omniglot = [f"data.root={little_omniglot(folder / 'omniglot', characters=8)}", *classes]
    runs = {f"algo {name}": [f"algo={name}", "model.channels=8"] for name in choices("algo")}
    more = {
        "lite0": ["model.image_size=32"],
        "timm": ["model.backbone=test_resnet", "model.weights=none", "model.image_size=32"],
    }
    runs |= {
        f"model {name}": [f"model={name}", "algo=fomaml", *more.get(name, [])]
        for name in choices("model")
    }
    runs |= {
        f"data {name}": [*choosing(name, folder), "algo=maml", "model=mlp"]
        + (omniglot if name.startswith("omniglot") else [])
        for name in choices("data")
        if name != "folder"  # which is adapted too
    }
    runs |= {
        f"sinusoid {name}": [*choosing("sinusoid", folder), "model=mlp", f"algo={name}"]
        for name in choices("algo")
        if name not in ("protonet", "ncm", "ridge", "logistic", "soft_kmeans")
    }
    runs |= WAYS_TO_COMPUTE
    runs["folder"] = [*little, "algo=reptile", "model=cnn4_pool"]
    trained = [
        ["train", *_small(words), *words, f"run.dir='runs/{name}'"] for name, words in runs.items()
    ]
    return [
        *trained,
        ["train", "-m", *TINY, "model=mlp", "algo=maml,reptile", "seed=1,2", "sweep.dir=sweep"],
        ["resume", "runs/algo reptile", "iterations=7"],
        ["evaluate", "runs/algo anil", "eval.tasks=9", "eval.queries=3"],
        ["evaluate", "runs/algo maml", "ways=4", "algo.eval_steps=5"],
        *(
            ["adapt", f"runs/{name}", *judging, *told, "--out", f"judged/{name}"]
            for name, told in (
                ("folder", setting),
                ("algo protonet", []),
                ("algo finetune", setting),
                ("algo anil", setting),
            )
        ),
    ]


def _small(words: list[str]) -> list[str]:
    return [word for word in TINY if not (word.startswith("ways") and "ways=1" in words)]


def tree_at(commit: str, folder: Path) -> Path:
    """The code of a commit, or of the working tree where it is empty, with its groups inside."""
    if commit:
        folder.mkdir()
        archive = ["git", "-C", str(CHECKOUT), "archive", commit, "fewshot_cli", "conf"]
        with subprocess.Popen(archive, stdout=subprocess.PIPE) as sent:
            subprocess.run(["tar", "-x", "-C", folder], stdin=sent.stdout, check=True)
    else:
        for name in ("fewshot_cli", "conf"):
            shutil.copytree(CHECKOUT / name, folder / name)
    shutil.move(folder / "conf", folder / "fewshot_cli" / "conf")
    return folder


def begin(tree: Path, lines: list[list[str]], folder: Path) -> subprocess.Popen[str]:
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    with (folder / SAID).open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", VERBS],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            text=True,
        )
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write("\n".join("\t".join(line) for line in lines))
    return process


def bits(folder: Path) -> dict[str, str]:
    """A digest of each file whose content is settled by the run, by its place."""
    found = {}
    for path in sorted(folder.rglob("*")):
        digest = hashlib.sha256()
        if path.name == "metrics.csv":
            digest.update(metrics(path.parent).encode())
        elif path.name in ("test_tasks.csv", "predictions.csv"):
            digest.update(path.read_bytes())
        elif path.suffix == ".pt":
            for weight in torch.load(path, weights_only=True)["net"].values():
                assert isinstance(weight, Tensor)
                digest.update(weight.cpu().contiguous().numpy().tobytes())
        else:
            continue
        place = path.relative_to(folder).parts
        if "evaluations" in place:  # whose folder is named by the time
            place = (*place[:-2], "", place[-1])
        # The digest in a job's name may be made another way.
        place = tuple(re.sub("_[0-9a-f]{8}$", "", part) for part in place)
        found["/".join(place)] = digest.hexdigest()
    return found


def main(commit: str) -> None:
    with TemporaryDirectory() as name:
        here = Path(name)
        trees = {"there": tree_at(commit, here / "there"), "here": tree_at("", here / "here")}
        lines = commands(trees["there"] / "fewshot_cli" / "conf", here)
        running = {side: begin(tree, lines, here / f"of {side}") for side, tree in trees.items()}
        for side, process in running.items():
            if process.wait():
                sys.exit(f"{(here / f'of {side}' / SAID).read_text()}a command failed {side}")
        there, ours = (bits(here / f"of {side}") for side in trees)
    differ = [place for place in sorted(there | ours) if there.get(place) != ours.get(place)]
    for place in differ:
        print(f"differs: {place}")
    print(f"{len(lines)} commands, {len(there)} files, {len(differ)} of them differ from {commit}")
    sys.exit(bool(differ))


if __name__ == "__main__":
    main(sys.argv[1])
