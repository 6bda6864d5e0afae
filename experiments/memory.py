"""The memory that a training on a CPU frees in each step, and needs again in the next one."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

# Options of mallopt(3), by glibc's malloc.h, and the environment's variables that set the same.
TRIM_THRESHOLD, MMAP_MAX = -1, -4
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_")
KEPT = 2**31 - 1  # bytes free at the end of the heap, the most that can be asked for


def keep_freed_memory() -> bool:
    """Has this process keep the memory that it frees, up to 2 GB at the end of the heap, and large tensors anywhere.

    By itself the C library gives it back to the system and gets it again page by page, each of which the system clears:
    up to a quarter of the time of a step (`make bench ARGS=memory`). PyTorch's tuning guide has other allocators,
    which have to be installed. The peak of memory may be some tenths higher, what is kept counts for this process after
    the training, too, and processes that are forked from it in the meantime (`num_workers`) hold it with it.

    Returns:
        Whether it does: with glibc, unless the environment has settings of its own for it.
    """
    mallopt = _mallopt()
    return mallopt is not None and all(
        mallopt(option, value) == 1 for option, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, KEPT))
    )


def can_keep_freed_memory() -> bool:
    """Whether `keep_freed_memory` would change anything."""
    return _mallopt() is not None


def _mallopt() -> Callable[[int, int], int] | None:
    if any(name in os.environ for name in VARIABLES) or "malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    try:
        mallopt: Callable[[int, int], int] = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return None
    return mallopt
