"""Tasks wait for the next change; one announcement wakes them all."""

import asyncio

import pytest

from runtime.broadcast import Broadcast


async def waiters(broadcast: Broadcast, count: int) -> list[asyncio.Task[None]]:
    """Start tasks that wait for the next announcement."""
    tasks = [asyncio.create_task(broadcast.wait()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_an_announcement_wakes_every_waiting_task_once() -> None:
    broadcast = Broadcast()
    tasks = await waiters(broadcast, 3)
    broadcast.announce()
    assert await asyncio.gather(*tasks) == [None] * 3
    (late,) = await waiters(broadcast, 1)
    await asyncio.sleep(0)
    assert not late.done(), "an earlier announcement does not count"
    broadcast.announce()
    await late


async def test_every_waiting_task_raises_an_announced_error() -> None:
    broadcast = Broadcast()
    tasks = await waiters(broadcast, 2)
    broadcast.announce(ConnectionError("the server is unavailable"))
    for task in tasks:
        with pytest.raises(ConnectionError, match="the server is unavailable"):
            await task


async def test_a_cancelled_task_does_not_disturb_the_others() -> None:
    broadcast = Broadcast()
    cancelled, other = await waiters(broadcast, 2)
    cancelled.cancel()
    await asyncio.wait((cancelled,))
    broadcast.announce()
    await other
    assert cancelled.cancelled()


async def test_an_announced_error_that_nobody_awaits_is_dropped() -> None:
    broadcast = Broadcast()
    broadcast.announce(ConnectionError())
    (task,) = await waiters(broadcast, 1)
    task.cancel()
    await asyncio.wait((task,))
    broadcast.announce(ConnectionError())
    (late,) = await waiters(broadcast, 1)
    broadcast.announce()
    await late
