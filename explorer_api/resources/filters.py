"""Checks of filters that several lists share."""

from datetime import datetime
from typing import Any, TypeVar, cast

from bson.datetime_ms import DatetimeMS
from msgspec import Struct

from explorer_api.http.parameters import Parameter, Query
from explorer_api.http.problems import filter_not_indexed, invalid_cursor, invalid_parameter
from ledger.documents.format import Document

T = TypeVar("T", int, DatetimeMS)


class TimeRange(Struct, frozen=True):
    """The times from `since` until before `until`; None for no bound."""

    since: DatetimeMS | None = None
    until: DatetimeMS | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether the range has a bound, so that a list is in the order of time."""
        return self.since is not None or self.until is not None

    def contains(self, ts: datetime) -> bool:
        """Return whether the time is in the range."""
        time = DatetimeMS(ts)
        is_early = self.since is not None and time < self.since
        is_late = self.until is not None and time >= self.until
        return not is_early and not is_late


def read_range(
    query: Query, low: Parameter[T], high: Parameter[T], *, exclusive: bool = False
) -> tuple[T | None, T | None]:
    """Return the bounds of a range.

    Raises `ProblemError` when the lower bound is above the upper one, or equal to an `exclusive`
    upper one.
    """
    first, last = query.get(low), query.get(high)
    if first is not None and last is not None and (first > last or (exclusive and first == last)):
        relation = "less than" if exclusive else "at most"
        allowed = f"a value {relation} that of {high.name}"
        raise invalid_parameter(low.name, query.sent(low), allowed)
    return first, last


def read_time_range(
    query: Query, low: Parameter[DatetimeMS], high: Parameter[DatetimeMS]
) -> TimeRange:
    """Return a range of times. Raises `ProblemError` when it is empty."""
    return TimeRange(*read_range(query, low, high, exclusive=True))


def require_at_most_one(query: Query, *parameters: Parameter[Any]) -> None:
    """Raise `ProblemError` when more than one of these filters is given: each has its own index."""
    names = [
        query.sent_name(parameter) for parameter in parameters if query.get(parameter) is not None
    ]
    if len(names) > 1:
        raise filter_not_indexed(
            names[1],
            f"No index supports {names[0]} together with {names[1]}.",
            "Leave out one of them, and compare its field in the items.",
        )


def resume_time(document: Document | None, times: TimeRange) -> datetime:
    """Return the `ts` of the document after which a list in the order of time continues.

    Raises `ProblemError` when the list cannot have had the document.
    """
    ts = document["ts"] if document is not None else None
    if ts is None or not times.contains(ts):
        raise invalid_cursor("points to no item of this range")
    return cast("datetime", ts)
