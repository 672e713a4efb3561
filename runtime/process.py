"""Tunes the Python process for what it does: much decoding in threads beside an event loop."""

import ctypes
import gc
import resource
import sys

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # of glibc's malloc.h
_LARGE_BYTES = 4 << 20
_ARENAS = 2
_SWITCH_INTERVAL_S = 0.001


def tune_process() -> None:
    """To be called once, when everything is imported."""
    _calm_collector()
    _tidy_allocator()
    sys.setswitchinterval(
        _SWITCH_INTERVAL_S
    )  # the event loop must not wait long for the thread that decodes


def allow_open_files(needed: int) -> int:
    """Lets this process open that many files, or as many as the system lets it; returns how many of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return needed
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


def _calm_collector() -> None:
    """Makes Python's cyclic collection rare.

    Decoding makes and drops thousands of containers a second, none of them in a cycle; at the default thresholds the
    collector looks through them, and all of the program, again and again: a quarter of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


def _tidy_allocator() -> None:
    """Gives the memory of large blocks back to the system at once, where the C library is glibc.

    Left to itself, glibc's malloc learns from a block of 10 MB to keep such pieces on its heaps, one for each thread,
    where they leave holes: a quarter of the process.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_ARENA_MAX, _ARENAS)
