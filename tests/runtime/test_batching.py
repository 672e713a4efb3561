"""Values that are asked for at the same time are loaded together."""

import asyncio
from collections.abc import Collection

import pytest

from runtime.batching import Batches


class Squares:
    """Loads the squares of even numbers; odd numbers have no value.

    The square of 2 must be released.
    """

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.started, self.release = asyncio.Event(), asyncio.Event()

    async def load(self, numbers: Collection[int]) -> dict[int, int]:
        self.calls.append(list(numbers))
        self.started.set()
        if 2 in numbers:
            await self.release.wait()
        if -2 in numbers:
            raise ValueError("negative")
        return {number: number**2 for number in numbers if number % 2 == 0}


async def test_each_caller_gets_the_value_of_its_key() -> None:
    squares = Squares()
    batches = Batches(squares.load, most=3)
    numbers = [4, 1, 4, 6, 8, 1, 10]
    values = await asyncio.gather(*map(batches.get, numbers))
    assert values == [16, None, 16, 36, 64, None, 100]
    assert squares.calls == [[4, 1, 6], [8, 10]]
    assert await batches.get(4) == 16
    assert squares.calls[2:] == [[4]], "values are not cached"


async def test_keys_that_come_later_do_not_wait_for_earlier_ones() -> None:
    squares = Squares()
    batches = Batches(squares.load, most=3)
    first = asyncio.create_task(batches.get(2))
    await squares.started.wait()
    assert await batches.get(4) == 16
    squares.release.set()
    assert await first == 4
    assert squares.calls == [[2], [4]]


async def test_callers_of_one_call_share_its_error() -> None:
    batches = Batches(Squares().load, most=2)
    results = await asyncio.gather(*map(batches.get, (-2, 6, 4)), return_exceptions=True)
    assert [type(result) for result in results] == [ValueError, ValueError, int]
    assert await batches.get(6) == 36


async def test_a_cancelled_caller_does_not_disturb_the_others() -> None:
    squares = Squares()
    batches = Batches(squares.load, most=3)
    tasks = [asyncio.create_task(batches.get(number)) for number in (2, 4, 2)]
    await squares.started.wait()
    tasks[0].cancel()
    squares.release.set()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert await asyncio.gather(*tasks[1:]) == [16, 4]
