"""The checks that the filters of several lists share."""

from datetime import datetime
from typing import Any, TypeVar, cast

from bson.datetime_ms import DatetimeMS

from explorer_api.http.parameters import Parameter, Query
from explorer_api.http.problems import filter_not_indexed, invalid_cursor, invalid_parameter
from ledger.documents.format import Document

T = TypeVar("T", int, DatetimeMS)


def require_one_filter(query: Query, *parameters: Parameter[Any]) -> None:
    """Raise `ProblemError` if more than one of these filters is given: each needs its own index."""
    names = [parameter.name for parameter in parameters if query.get(parameter) is not None]
    if len(names) > 1:
        raise filter_not_indexed(
            names[1],
            f"No index serves {names[0]} together with {names[1]}.",
            "Leave one of them out, and compare its field in the items.",
        )


def read_range(
    query: Query, low: Parameter[T], high: Parameter[T], *, exclusive: bool = False
) -> tuple[T | None, T | None]:
    """Return the bounds of a range.

    Raises `ProblemError` if the lower bound is above the upper one, or equal to an `exclusive` one.
    """
    first, last = query.get(low), query.get(high)
    if first is not None and last is not None and (first > last or (exclusive and first == last)):
        relation = "less than" if exclusive else "at most"
        allowed = f"a value {relation} that of {high.name}"
        raise invalid_parameter(low.name, query.sent(low), allowed)
    return first, last


def resumed_ts(
    document: Document | None, since: DatetimeMS | None, until: DatetimeMS | None
) -> datetime:
    """Return the `ts` at which a list by time is resumed.

    Raises `ProblemError` if the document cannot have been in the list.
    """
    ts = document["ts"] if document is not None else None
    if (
        ts is None
        or (since is not None and DatetimeMS(ts) < since)
        or (until is not None and DatetimeMS(ts) >= until)
    ):
        raise invalid_cursor("points to no item of this range")
    return cast("datetime", ts)
