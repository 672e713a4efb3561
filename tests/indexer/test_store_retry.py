"""Calls to the store that fail for a while, and the log of the outage."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from pymongo.errors import AutoReconnect
from structlog.testing import capture_logs

from cli.assembly.channel import new_progress
from indexer.pipeline.store_retry import StoreRetry
from ledger.errors import StoreConflictError
from ledger.mongodb.sync_state import ChannelState
from runtime.retry import GaveUpError


def failing(times: int, until: asyncio.Event | None = None) -> Callable[[], Awaitable[str]]:
    """Return a call that fails this often, and then waits for the event before it succeeds."""
    remaining = times

    async def call() -> str:
        nonlocal remaining
        if remaining:
            remaining -= 1
            raise AutoReconnect("no primary")
        if until is not None:
            await until.wait()
        return "stored"

    return call


async def test_the_success_of_another_call_does_not_end_the_outage() -> None:
    progress, may_succeed = new_progress("c"), asyncio.Event()
    store_retry = StoreRetry(60.0, progress)
    with capture_logs() as logs:
        slow = asyncio.create_task(store_retry.run(failing(2, may_succeed)))
        while progress.errors["mongodb"] < 2:
            assert await store_retry.run(failing(0)) == "stored"
            await asyncio.sleep(0)
        assert [entry["event"] for entry in logs] == ["mongodb_unavailable"]
        assert progress.state is ChannelState.WAITING
        may_succeed.set()
        assert await slow == "stored"
        assert await store_retry.run(failing(1)) == "stored"
    assert [entry["event"] for entry in logs] == ["mongodb_unavailable", "mongodb_available"] * 2


async def test_the_end_of_a_call_that_is_cancelled_or_gives_up_is_no_recovery() -> None:
    progress = new_progress("c")
    store_retry = StoreRetry(0.05, progress)
    with capture_logs() as logs:
        with pytest.raises(GaveUpError, match="MongoDB did not answer"):
            await store_retry.run(failing(1_000_000))
        cancelled = asyncio.create_task(store_retry.run(failing(1_000_000)))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
    assert [entry["event"] for entry in logs] == ["mongodb_unavailable"]


async def test_the_budget_of_each_call_begins_with_the_call() -> None:
    store_retry = StoreRetry(0.05, new_progress("c"))
    with pytest.raises(GaveUpError):
        await store_retry.run(failing(1_000_000))
    assert await store_retry.run(failing(1)) == "stored"


async def test_an_error_that_a_retry_cannot_cure_is_raised_at_once() -> None:
    async def conflict() -> None:
        raise StoreConflictError("blocks", 1, "blockHash", "a", "b")

    progress = new_progress("c")
    with pytest.raises(StoreConflictError):
        await StoreRetry(60.0, progress).run(conflict)
    assert progress.errors["mongodb"] == 0
