"""The helper `eventually`: what it returns, and what it reports when a condition never holds."""

import asyncio
from itertools import count

import pytest

from tests.eventually import eventually, eventually_sync


async def test_it_returns_the_first_value_that_holds() -> None:
    numbers = count()
    assert await eventually(lambda: next(numbers), lambda number: number > 2) == 3


async def test_it_awaits_observations() -> None:
    numbers = count()

    async def observe() -> int:
        return next(numbers)

    assert await eventually(observe) == 1


async def test_a_failure_reports_the_condition_and_the_last_value() -> None:
    with pytest.raises(
        AssertionError, match=r"^the height is 7 did not hold within 0\.05 s; last value: 5$"
    ):
        await eventually(
            lambda: 5, lambda height: height == 7, within_s=0.05, describe="the height is 7"
        )


async def test_a_failure_reports_the_state_behind_a_condition() -> None:
    rows = ["PENDING"]
    with pytest.raises(AssertionError, match=r"last value: False; state: \['PENDING'\]"):
        await eventually(lambda: "CONFIRMED" in rows, within_s=0.05, describe=lambda: rows)


async def test_an_observation_that_never_returns_ends_in_time() -> None:
    values = iter([0])

    async def observe() -> int:
        for value in values:
            return value
        await asyncio.Event().wait()
        return 1

    with pytest.raises(AssertionError, match="last value: 0; the observation was still running"):
        await eventually(observe, within_s=0.2)


async def test_errors_fail_at_once_unless_they_are_to_be_retried() -> None:
    errors = iter([ConnectionError("refused"), TimeoutError("no answer")])

    def observe() -> bool:
        for error in errors:
            raise error
        return True

    assert await eventually(observe, retry_on=(ConnectionError, TimeoutError))

    def always_fail() -> bool:
        raise ConnectionError("refused")

    with pytest.raises(AssertionError, match=r"ConnectionError\('refused'\)"):
        await eventually(always_fail, within_s=0.05, retry_on=ConnectionError)
    with pytest.raises(ConnectionError):
        await eventually(always_fail)


def test_it_works_without_an_event_loop() -> None:
    numbers = count()
    assert eventually_sync(lambda: next(numbers), lambda number: number > 2) == 3
    with pytest.raises(AssertionError, match=r"within 0\.05 s; last value: False"):
        eventually_sync(lambda: False, within_s=0.05)


def test_it_retries_errors_without_an_event_loop() -> None:
    errors = iter([ConnectionError("refused")])

    def observe() -> bool:
        for error in errors:
            raise error
        return True

    assert eventually_sync(observe, retry_on=ConnectionError)
    with pytest.raises(ZeroDivisionError):
        eventually_sync(lambda: 1 / 0, retry_on=ConnectionError)
