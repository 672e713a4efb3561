"""Reads the ends of a range as an auditor writes them: dates, months, times and block numbers."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

import msgspec
from msgspec import Struct

from ledger.position import MAX_BLOCK_NUMBER

ALLOWED: Final = (
    "a date (2026-10-01), a month (2026-10), a time in RFC 3339 (2026-10-01T12:00:00Z), or block:N"
)
_BLOCK = re.compile(r"block:(0|[1-9][0-9]{0,18})", re.ASCII)
_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


class When(Struct, frozen=True):
    """An end of a range: a block, or a time.

    A range that begins here begins with the block `block`, or at `begins`. One that ends here ends
    with this block, or before `ends`: a date and a month end with their last moment.
    """

    text: str
    block: int | None = None
    begins: datetime | None = None
    ends: datetime | None = None


def read_when(text: str) -> When:
    """Return the end of a range. Dates and months are those of UTC.

    Raises `ValueError` for another text.
    """
    block = _BLOCK.fullmatch(text)
    if block is not None:
        number = int(block[1])
        if number > MAX_BLOCK_NUMBER:
            raise ValueError
        return When(text, block=number)
    try:
        begins, ends = map(_rounded_up, _times(text))
    except (OverflowError, msgspec.ValidationError):
        raise ValueError from None
    return When(text, begins=begins, ends=ends)


def _times(text: str) -> tuple[datetime, datetime]:
    month = _MONTH.fullmatch(text)
    if month is not None:
        first = date(int(month[1]), int(month[2]), 1)
        return _midnight(first), _midnight((first + timedelta(days=31)).replace(day=1))
    if _DATE.fullmatch(text):
        day = date.fromisoformat(text)
        return _midnight(day), _midnight(day + timedelta(days=1))
    time = msgspec.convert(text, datetime)
    if time.tzinfo is None:
        raise ValueError
    return time, time


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _rounded_up(time: datetime) -> datetime:
    """Return the time in whole milliseconds: the stored times of transactions are rounded down."""
    return time.astimezone(UTC) + timedelta(microseconds=-time.microsecond % 1000)
