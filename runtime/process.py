"""Tunes the Python process, in which threads decode blocks beside an event loop."""

import ctypes
import gc
import resource
import sys
from typing import Final

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
_LARGE_BYTES: Final = 4 << 20
_KEPT_BYTES: Final = 16 << 20
_MAX_ARENAS: Final = 2
_THREAD_SWITCH_S: Final = 0.001


def tune_process() -> None:
    """Tune garbage collection, memory allocation and thread switching of this process.

    Call it once, when all modules are imported.
    """
    _collect_garbage_rarely()
    _tune_malloc()
    # A thread that decodes must hand over to the event loop quickly.
    sys.setswitchinterval(_THREAD_SWITCH_S)


def allow_open_files(needed: int) -> int:
    """Raise this process's limit of open files to `needed`, or as far as the system permits.

    Return how many of the needed files may be open.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return needed
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


def _collect_garbage_rarely() -> None:
    """Make Python look for reference cycles rarely.

    Decoding creates and drops thousands of containers a second, none of them in a cycle. At the
    default thresholds the collector examines them, and all of the program's objects, again and
    again, which takes a quarter of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 50, 50)


def _tune_malloc() -> None:
    """Make glibc's malloc, if this is the C library, return large memory at once, and keep small.

    By default malloc raises its threshold after a block of 10 MB, and from then on keeps such
    allocations on its heaps. There is one heap for each thread, and the gaps in them take a
    quarter of the process's memory. A fixed threshold also fixes the free memory that a heap keeps,
    at 128 KB: then each block's memory is returned and requested again, which takes a fifth of the
    time in which a block is decoded.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_ARENA_MAX, _MAX_ARENAS)
