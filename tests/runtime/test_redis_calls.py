"""Calls of Redis end in time, and pause after a failure."""

import asyncio
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from runtime.redis_calls import RedisCalls
from tests.clock import Clock


async def reply(redis: Redis) -> str:
    return "reply"


async def fail(redis: Redis) -> str:
    raise RedisConnectionError("no connection")


async def hang(redis: Redis) -> str:
    await asyncio.sleep(60)
    return "late"


NO_REDIS = cast("Redis", None)


@pytest.mark.parametrize("failing", [fail, hang])
async def test_no_call_is_made_for_a_while_after_a_failure(failing: Any) -> None:
    clock, errors = Clock(), list[Exception]()
    calls = RedisCalls(NO_REDIS, timeout_s=0.05, pause_s=2.0, clock=clock)
    assert await calls.call(reply) == "reply"
    assert await calls.call(failing, errors.append) is None
    assert len(errors) == 1
    assert (calls.available, await calls.call(reply)) == (False, None)
    clock.now += 2.0
    assert await calls.call(reply) == "reply"
    assert await calls.call(reply) == "reply"


async def test_a_concurrent_success_does_not_end_the_pause() -> None:
    """Else a Redis that answers only some calls would delay nearly every response."""
    clock, failed = Clock(), asyncio.Event()
    calls = RedisCalls(NO_REDIS, timeout_s=30.0, pause_s=2.0, clock=clock)

    async def reply_late(redis: Redis) -> str:
        await failed.wait()
        return "reply"

    late = asyncio.create_task(calls.call(reply_late))
    await asyncio.sleep(0)
    assert await calls.call(fail) is None
    failed.set()
    assert await late == "reply"
    assert (calls.available, await calls.call(reply)) == (False, None)
    clock.now += 2.0
    assert await calls.call(reply) == "reply"


async def test_a_cancelled_call_does_not_count_as_a_failure() -> None:
    clock, errors = Clock(), list[Exception]()
    calls = RedisCalls(NO_REDIS, timeout_s=30.0, pause_s=2.0, clock=clock)
    assert await calls.call(fail) is None
    clock.now += 2.0
    trial = asyncio.create_task(calls.call(hang, errors.append))
    await asyncio.sleep(0)
    assert await calls.call(reply) is None, "only one trial call at a time"
    trial.cancel()
    await asyncio.wait([trial])
    assert trial.cancelled()
    assert (errors, calls.available) == ([], True)


async def test_a_fault_of_the_program_is_raised() -> None:
    calls = RedisCalls(NO_REDIS)

    async def wrong(redis: Redis) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await calls.call(wrong)
    assert calls.available
