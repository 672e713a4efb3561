"""The checks of the doctor, and how the checks of one part depend on each other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum

from msgspec import Struct

from cli.errors import ConfigurationError, Exit


class Outcome(StrEnum):
    """The outcome of a check.

    A warning says that the part works, but is a risk. A check is skipped if its part is not
    configured, or if a check that it depends on failed.
    """

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Check(Struct, frozen=True, rename="camel"):
    """A check and its outcome.

    Failures and warnings have advice. Only a failure has the exit code that it leads to.
    """

    name: str
    outcome: Outcome
    detail: str
    advice: str | None = None
    exit_code: Exit | None = None


class Risk(Struct, frozen=True):
    """The result of a step that works but is a risk."""

    detail: str
    advice: str


Details = dict[str, str | Risk]
"""The results of the successful steps of a part, by step."""


class FailedStepError(Exception):
    """A step of a part failed; the steps after it cannot be checked."""

    def __init__(self, step: str, detail: str, advice: str, code: Exit) -> None:
        super().__init__(detail)
        self.step, self.detail, self.advice, self.code = step, detail, advice, code


class SkippedStepError(Exception):
    """A step of a part, and the steps after it, cannot be checked."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(reason)
        self.step, self.reason = step, reason


async def run_part(
    part: str, steps: Sequence[str], probe: Callable[[Details], Awaitable[None]]
) -> list[Check]:
    """Return a check for each step.

    The probe executes the steps in their order, notes a result for each, and raises an error at
    the first step that fails or cannot be checked.
    """
    details: Details = {}
    end: FailedStepError | SkippedStepError | None = None
    try:
        await probe(details)
    except (FailedStepError, SkippedStepError) as error:
        end = error
    return list(_checks(part, steps, details, end))


def _checks(
    part: str,
    steps: Sequence[str],
    details: Details,
    end: FailedStepError | SkippedStepError | None,
) -> Iterable[Check]:
    index = steps.index(end.step) if end is not None else len(steps)
    for step in steps[:index]:
        yield _passed(f"{part}: {step}", details.get(step, ""))
    if isinstance(end, FailedStepError):
        yield Check(f"{part}: {end.step}", Outcome.FAILED, end.detail, end.advice, end.code)
    elif end is not None:
        yield skipped(f"{part}: {end.step}", end.reason)
    for step in steps[index + 1 :]:
        yield skipped(f"{part}: {step}", f"needs {part}: {steps[index]}")


def _passed(name: str, result: str | Risk) -> Check:
    if isinstance(result, Risk):
        return Check(name, Outcome.WARNING, result.detail, result.advice)
    return Check(name, Outcome.OK, result)


def skipped(name: str, reason: str) -> Check:
    """Return a skipped check."""
    return Check(name, Outcome.SKIPPED, reason)


def first_failure(checks: Iterable[Check]) -> str | None:
    """Return the name of the first failed check, or None."""
    return next((check.name for check in checks if check.outcome is Outcome.FAILED), None)


@asynccontextmanager
async def time_limit(step: str, seconds: float, advice: str) -> AsyncIterator[None]:
    """Raise `FailedStepError` if the block inside takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise FailedStepError(
            step, f"no answer within {seconds:g} s", advice, Exit.UNAVAILABLE
        ) from None


@contextmanager
def fail_on_configuration_error(step: str, advice: str) -> Iterator[None]:
    """Raise `FailedStepError` for a `ConfigurationError` of the block inside."""
    try:
        yield
    except ConfigurationError as error:
        raise FailedStepError(step, str(error), advice, Exit.CONFIGURATION) from error


def exit_code(checks: Iterable[Check]) -> Exit:
    """Return the exit code for all checks.

    OK if no check failed, CONFIGURATION if waiting cannot cure a failure, else UNAVAILABLE.
    """
    codes = {check.exit_code for check in checks if check.exit_code is not None}
    if not codes:
        return Exit.OK
    return Exit.CONFIGURATION if Exit.CONFIGURATION in codes else Exit.UNAVAILABLE
