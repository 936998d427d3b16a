from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys, torch
from fewshot_cli.training.allocation import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
torch.set_num_threads(1)
for time in range(20):
    if time == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(2**22) for _ in range(8)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told")
def test_a_block_that_was_freed_is_there_for_the_next_one() -> None:
    # Without this, glibc moves its threshold by itself, and sometimes far enough.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**17)}

    def page_faults(how: str) -> int:
        command = [sys.executable, "-c", CODE, how]
        return int(subprocess.check_output(command, env=environment, text=True))

    assert page_faults("keep") < page_faults("leave") / 2
