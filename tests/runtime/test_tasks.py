"""Background work restarts after errors, and cancelled tasks are waited for."""

import asyncio

import pytest
from structlog.testing import capture_logs

from runtime.tasks import cancel_and_wait, restart_on_failure, unwrap_exception_group


async def test_background_work_is_restarted_after_an_error() -> None:
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ValueError(f"run {runs}")

    with capture_logs() as logs:
        await restart_on_failure(work, delay_s=0)
    assert runs == 3
    assert [entry["event"] for entry in logs] == ["background_failed"] * 2


async def test_a_task_that_swallows_its_cancellation_is_cancelled_again() -> None:
    async def swallow_one_cancellation() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    task = asyncio.create_task(swallow_one_cancellation())
    await asyncio.sleep(0)
    await cancel_and_wait([task])
    assert task.cancelled()


async def test_the_first_error_of_a_group_is_raised_by_itself() -> None:
    async def fail() -> None:
        raise ValueError("the cause")

    async def fail_in_a_group() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    async def fail_in_two_groups() -> None:
        with unwrap_exception_group():
            async with asyncio.TaskGroup() as group:
                group.create_task(fail_in_a_group())

    with pytest.raises(ValueError, match="the cause"):
        await fail_in_two_groups()
