"""What a check is, and how the checks of one part build on each other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum

from msgspec import Struct

from cli.errors import ConfigurationError, Exit


class Outcome(StrEnum):
    """How a check ended. Skipped: its part is not configured, or something that it builds on failed."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class Check(Struct, frozen=True, rename="camel"):
    """One thing that was looked at. Only a failure has advice, and the exit code that it stands for."""

    name: str
    outcome: Outcome
    detail: str
    advice: str | None = None
    exit_code: Exit | None = None


class FailedStepError(Exception):
    """A step of a part failed; the ones after it cannot be looked at."""

    def __init__(self, step: str, detail: str, advice: str, code: Exit) -> None:
        super().__init__(detail)
        self.step, self.detail, self.advice, self.code = step, detail, advice, code


class SkippedStepError(Exception):
    """A step cannot be looked at, nor can the ones after it."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(reason)
        self.step, self.reason = step, reason


Details = dict[str, str]
"""What a probe found at each step that went well."""


async def run_part(
    part: str, steps: Sequence[str], probe: Callable[[Details], Awaitable[None]]
) -> list[Check]:
    """One check for each step. The probe takes the steps in order, notes details, and ends at the first failure."""
    details: Details = {}
    ended: FailedStepError | SkippedStepError | None = None
    try:
        await probe(details)
    except (FailedStepError, SkippedStepError) as error:
        ended = error
    return list(_checks(part, steps, details, ended))


def _checks(
    part: str,
    steps: Sequence[str],
    details: Details,
    ended: FailedStepError | SkippedStepError | None,
) -> Iterable[Check]:
    end = steps.index(ended.step) if ended is not None else len(steps)
    for step in steps[:end]:
        yield Check(f"{part}: {step}", Outcome.OK, details.get(step, ""))
    if isinstance(ended, FailedStepError):
        yield Check(f"{part}: {ended.step}", Outcome.FAILED, ended.detail, ended.advice, ended.code)
    elif ended is not None:
        yield skipped(f"{part}: {ended.step}", ended.reason)
    for step in steps[end + 1 :]:
        yield skipped(f"{part}: {step}", f"needs {part}: {steps[end]}")


def skipped(name: str, reason: str) -> Check:
    """A check that was not made."""
    return Check(name, Outcome.SKIPPED, reason)


def first_failure(checks: Iterable[Check]) -> str | None:
    """The name of the first check that failed."""
    return next((check.name for check in checks if check.outcome is Outcome.FAILED), None)


@asynccontextmanager
async def time_limit(step: str, seconds: float, advice: str) -> AsyncIterator[None]:
    """Raises `FailedStepError` where what is inside takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise FailedStepError(
            step, f"no answer within {seconds:g} s", advice, Exit.UNAVAILABLE
        ) from None


@contextmanager
def configured(step: str, advice: str) -> Iterator[None]:
    """Raises `FailedStepError` where the configuration cannot be used."""
    try:
        yield
    except ConfigurationError as error:
        raise FailedStepError(step, str(error), advice, Exit.CONFIGURATION) from error


def exit_code(checks: Iterable[Check]) -> Exit:
    """OK if nothing failed; CONFIGURATION if waiting cannot cure a failure, else UNAVAILABLE."""
    codes = {check.exit_code for check in checks if check.exit_code is not None}
    if not codes:
        return Exit.OK
    return Exit.CONFIGURATION if Exit.CONFIGURATION in codes else Exit.UNAVAILABLE
