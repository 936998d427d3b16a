"""How much memory this process may still take, by Linux's own account."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
LIMITS = (GROUPS, "memory.max"), (GROUPS / "memory", "memory.limit_in_bytes")  # of version 2 and 1


def free() -> int | None:
    """Bytes: what the machine has available, or less where a control group (SLURM's, a
    container's) allows less. None where there is no /proc.
    """
    try:
        available = _kilobytes(PROC / "meminfo", "MemAvailable") * 1024
        used = _kilobytes(PROC / "self" / "status", "VmRSS") * 1024
        told = (PROC / "self" / "cgroup").read_text(encoding="utf-8")
    except OSError:
        return None
    for root, name in LIMITS:
        for group in re.findall(r"^\d+:(?:memory)?:/(.*)$", told, re.MULTILINE):
            folder = root / group
            for each in (folder, *folder.parents):
                with suppress(OSError, ValueError):  # not there, or "max"
                    available = min(available, int((each / name).read_text()) - used)
    return max(available, 0)


@contextmanager
def at_most(more: int | None) -> Iterator[None]:
    """Have an allocation beyond so many bytes fail inside the `with`, before anything is killed."""
    if more is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _kilobytes(PROC / "self" / "status", "VmData") * 1024 + more
    if before[0] != resource.RLIM_INFINITY:
        limit = min(limit, before[0])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _kilobytes(file: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", file.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise OSError(f"{file}: has no {name}")
    return int(found[1])
