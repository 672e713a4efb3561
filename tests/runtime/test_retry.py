"""Failed calls are repeated until they succeed, or until the retry budget is used."""

import asyncio

import pytest

from runtime.backoff import Backoff
from runtime.retry import GaveUpError, retry


class Server:
    """Fails the first calls, then responds."""

    def __init__(self, failures: int, error: type[Exception] = ConnectionError) -> None:
        self.calls = 0
        self._failures, self._error = failures, error

    async def call(self) -> str:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error(f"failure {self.calls}")
        return "response"


def is_transient(error: Exception) -> bool:
    return isinstance(error, ConnectionError)


def no_delay() -> Backoff:
    return Backoff(draw=lambda _low, _high: 0.0)


async def test_a_call_is_repeated_until_it_succeeds() -> None:
    server, errors = Server(failures=3), list[str]()
    response = await retry(
        server.call,
        is_transient=is_transient,
        on_failure=lambda error: errors.append(str(error)),
        backoff=no_delay(),
    )
    assert (response, server.calls) == ("response", 4)
    assert errors == ["failure 1", "failure 2", "failure 3"]


async def test_an_error_that_is_not_transient_is_raised_at_once() -> None:
    server = Server(failures=1, error=ValueError)
    with pytest.raises(ValueError, match="failure 1"):
        await retry(server.call, is_transient=is_transient)
    assert server.calls == 1


async def test_the_retry_budget_ends_the_attempts_and_the_error_names_the_server() -> None:
    """The budget begins at the first failure: before it, the call may have run for hours."""
    times = iter([100.0, 104.0, 110.0, 110.5])
    server = Server(failures=10)
    with pytest.raises(GaveUpError, match="PostgreSQL did not answer for 10 s: failure 4"):
        await retry(
            server.call,
            is_transient=is_transient,
            budget_s=10,
            server="PostgreSQL",
            backoff=no_delay(),
            clock=lambda: next(times),
        )


async def test_a_cancellation_that_the_call_swallowed_ends_the_attempts() -> None:
    calls = 0

    async def swallow_cancellation() -> str:
        nonlocal calls
        calls += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("cancelled within the driver") from None
        return "never"

    retrying = asyncio.create_task(retry(swallow_cancellation, is_transient=is_transient))
    await asyncio.sleep(0)
    retrying.cancel()
    await asyncio.wait((retrying,))
    assert (retrying.cancelled(), calls) == (True, 1)


def test_the_bound_of_the_delays_doubles_up_to_a_maximum() -> None:
    backoff = Backoff(initial=1, maximum=5, draw=lambda _low, high: high)
    assert [backoff.next_delay() for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next_delay() == 1


def test_delays_are_spread_over_the_whole_range() -> None:
    bounds = list[tuple[float, float]]()

    def draw(low: float, high: float) -> float:
        bounds.append((low, high))
        return low

    backoff = Backoff(initial=1, maximum=8, draw=draw)
    assert [backoff.next_delay() for _ in range(2)] == [0, 0]
    assert bounds == [(0, 1), (0, 2)]
