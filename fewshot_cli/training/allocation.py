"""Memory that is freed stays with the process: a meta-update asks for the same again at once."""

from __future__ import annotations

import ctypes
import platform

# From glibc's malloc.h; the threshold is the largest that glibc takes.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
NEVER, LARGEST = 2**31 - 1, 32 * 2**20


def keep_freed_memory() -> None:
    """Tell glibc's malloc, where that is what allocates, not to hand small blocks back.

    It would return each block of some megabytes to the system, which clears every page of it
    before the next use: about a tenth of a meta-update (https://man7.org/linux/man-pages/man3/
    mallopt.3.html).
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST)
        libc.mallopt(M_TRIM_THRESHOLD, NEVER)
