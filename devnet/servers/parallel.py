"""Do several things at the same time, each in a thread."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


def in_parallel(calls: Sequence[Callable[[], _T]]) -> list[_T]:
    """The results of all calls, in order. When all have ended, raises the first error if there was one."""
    with ThreadPoolExecutor(max_workers=len(calls)) as pool:
        running = [pool.submit(call) for call in calls]
    return [call.result() for call in running]
