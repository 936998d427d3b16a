from __future__ import annotations

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys, torch
from fewshot_cli import algorithms, models
from fewshot_cli.algorithms.tactics import Tactics
from fewshot_cli.compose import job_config
from fewshot_cli.data.batch import TaskBatch
from fewshot_cli.training.allocation import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
config = job_config([])
net = models.build(config.model, (1, 28, 28), 5)
learner = algorithms.build(net, config.algo, 100, Tactics())
x, y = torch.rand(16, 5, 1, 28, 28), torch.arange(5).expand(16, 5)
for iteration in range(6):
    if iteration == 3:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    learner.meta_update(TaskBatch(x, y, x, y), torch.Generator())
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told")
def test_a_meta_update_finds_the_memory_of_the_one_before() -> None:
    def page_faults(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert page_faults("keep") < page_faults("leave") / 10
