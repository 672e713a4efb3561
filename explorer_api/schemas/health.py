"""The health of the service."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

Verdict = Literal["ok", "catching_up", "degraded", "broken"]


class Liveness(Struct, frozen=True):
    """The response of a probe that succeeded: `status` is `live` or `ready`."""

    status: str


class Check(Struct, frozen=True, rename="camel"):
    """The result of a check.

    `since` is the time since which the check has had this status, as far as this process knows.
    """

    name: str
    status: Verdict
    detail: str | None
    latency_ms: float | None
    since: datetime


class Health(Struct, frozen=True):
    """The results of all checks, and the worst of their statuses.

    `degraded` means that responses are correct, but slower or less complete.
    """

    status: Verdict
    checks: list[Check]
