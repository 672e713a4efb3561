"""Runs several calls at the same time, each in a thread."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


def in_parallel(calls: Sequence[Callable[[], _T]]) -> list[_T]:
    """Return the results of all calls, in their order.

    Raises the first error once all calls have ended.
    """
    with ThreadPoolExecutor(max_workers=len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
    return [future.result() for future in futures]
