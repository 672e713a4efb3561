"""Callers that ask for the same result at the same time share one computation."""

import asyncio

import pytest

from runtime.single_flight import SingleFlight


class Computation:
    """Ends when the test releases it."""

    def __init__(self, result: int | None = 7, error: Exception | None = None) -> None:
        self.started = 0
        self.release = asyncio.Event()
        self._result, self._error = result, error

    async def run(self) -> int | None:
        self.started += 1
        await self.release.wait()
        if self._error is not None:
            raise self._error
        return self._result


async def callers(
    flight: SingleFlight[int | None], computation: Computation, count: int
) -> list[asyncio.Task[int | None]]:
    """Start tasks that ask for the same result."""
    tasks = [asyncio.create_task(flight.once("key", computation.run)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


@pytest.mark.parametrize("result", [7, None])
async def test_concurrent_callers_share_one_computation(result: int | None) -> None:
    flight, computation = SingleFlight[int | None](), Computation(result)
    tasks = await callers(flight, computation, 3)
    computation.release.set()
    assert await asyncio.gather(*tasks) == [result] * 3
    assert computation.started == 1
    assert await flight.once("key", computation.run) == result
    assert computation.started == 2, "results are not cached"


async def test_keys_are_computed_independently() -> None:
    flight, computation = SingleFlight[int | None](), Computation()
    computation.release.set()
    results = await asyncio.gather(*(flight.once(key, computation.run) for key in ("a", "b")))
    assert (results, computation.started) == ([7, 7], 2)


async def test_concurrent_callers_share_an_error() -> None:
    flight, computation = SingleFlight[int | None](), Computation(error=ValueError("no result"))
    tasks = await callers(flight, computation, 2)
    computation.release.set()
    for task in tasks:
        with pytest.raises(ValueError, match="no result"):
            await task
    assert computation.started == 1


async def test_another_caller_starts_again_when_the_computing_one_is_cancelled() -> None:
    flight, computation = SingleFlight[int | None](), Computation()
    first, *others = await callers(flight, computation, 3)
    first.cancel()
    await asyncio.wait((first,))
    await asyncio.sleep(0)
    computation.release.set()
    assert await asyncio.gather(*others) == [7, 7]
    assert (first.cancelled(), computation.started) == (True, 2)


async def test_a_waiting_caller_that_is_cancelled_does_not_disturb_the_others() -> None:
    flight, computation = SingleFlight[int | None](), Computation()
    first, cancelled, third = await callers(flight, computation, 3)
    cancelled.cancel()
    await asyncio.wait((cancelled,))
    computation.release.set()
    assert [await first, await third] == [7, 7]
    assert (cancelled.cancelled(), computation.started) == (True, 1)
