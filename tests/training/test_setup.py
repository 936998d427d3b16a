from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import TINY, config, names, of_all

from fewshot_cli.algorithms.base import MetaLearner
from fewshot_cli.settings.errors import UserError
from fewshot_cli.training.evaluation import evaluate
from fewshot_cli.training.seeding import generator
from fewshot_cli.training.setup import Setup, prepare

CUDA = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
)


def prepared(cache_dir: Path, *overrides: str) -> Setup:
    chosen = config(*TINY, *overrides)
    chosen.cache_dir = str(cache_dir)
    return prepare(chosen)


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize(*of_all(algo=names("algo"), precision=["float32", "bf16"]))
def test_a_meta_update_and_a_meta_test(
    cache_dir: Path, algo: str, device: str, precision: str
) -> None:
    setup = prepared(cache_dir, f"algo={algo}", f"device={device}", f"precision={precision}")
    tasks = setup.train_tasks(generator(0, "train tasks"))
    assert tasks.support_x.device.type == device
    if isinstance(setup.algorithm, MetaLearner):
        scores = setup.algorithm.meta_update(tasks, generator(0, "inner batches"))
        assert torch.isfinite(scores.loss).all()
    assert all(weight.device.type == device for weight in setup.algorithm.net.parameters())
    (scores,) = evaluate(setup, "test", 3, "", [setup.config.algo.eval_steps])
    assert torch.isfinite(scores.loss).all()


# No first meta-update waits for these: torch's compiler takes as long to import as torch itself.
UPDATES = f"""
import sys, torch
from fewshot_cli.settings.compose import job_config
from fewshot_cli.training.run import prepare
for algo in ("maml", "reptile"):
    words = ("algo=" + algo, "data=sinusoid", "model=mlp", "ways=1")
    setup = prepare(job_config([*{TINY!r}, *words]))
    setup.algorithm.meta_update(setup.train_tasks(torch.Generator()), torch.Generator())
late = {{"torch._dynamo", "sympy", "scipy", "torchvision", "pandas"}}
sys.exit(", ".join(late & {{*sys.modules}}) or 0)
"""


def test_a_meta_update_imports_no_more_than_it_needs() -> None:
    done = subprocess.run([sys.executable, "-c", UPDATES], capture_output=True, text=True)
    assert (done.stderr.strip(), done.returncode) == ("", 0)


def test_batching(cache_dir: Path) -> None:
    def chunk(*overrides: str) -> int:
        return prepared(cache_dir, *overrides).eval_chunk

    assert chunk("batching=sequential") == 1
    assert chunk("batching=stacked", "chunk=7") == 7
    assert chunk("batching=stacked") > 10**6
    assert 1 < chunk("batching=auto") < 10**6


def test_compiling_needs_a_compiler(
    cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"compile=true: found no C\+\+ compiler; expected g\+\+"):
        prepared(cache_dir, "compile=true")
    assert not prepared(cache_dir, "compile=auto").algorithm.acceleration.compile
