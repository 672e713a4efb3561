"""The activity of a channel over time: totals for each minute, hour or day."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from bson.codec_options import CodecOptions
from bson.datetime_ms import DatetimeMS

from explorer_api.http.parameters import Parameter, choice, time
from explorer_api.http.problems import ProblemError, invalid_parameter
from explorer_api.http.responses import HALF_A_MINUTE, ONE_DAY, ApiResponse
from explorer_api.resources.filters import read_time_range
from explorer_api.resources.totals import channel_totals
from explorer_api.routing.calls import ChannelCall
from explorer_api.schemas.stats import Interval, Metric, Point, Series
from ledger.mongodb.totals import BlockTotals

MAX_INTERVALS: Final = 1_500
MAX_BLOCKS_READ: Final = 250_000
"""The maximal number of blocks in the hours of a series by minute, which reads all of them."""

TotalsByTime = Mapping[datetime | None, BlockTotals]
"""Totals by the beginning of their hour or minute; None for blocks without a time."""

METRIC = choice(
    "metric", "transactions", "valid", "blocks", "events", "bytes", default="transactions"
)
INTERVAL = choice("interval", "minute", "hour", "day", default="hour")
FROM = time("from")
TO = time("to")

_FIELDS: Final[dict[Metric, str]] = {
    "transactions": "transactions",
    "valid": "valid_transactions",
    "blocks": "blocks",
    "events": "events",
    "bytes": "size",
}
_LENGTHS: Final[dict[Interval, timedelta]] = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}
_OFFSETS_OF_TOTALS: Final[dict[Interval, tuple[timedelta, ...]]] = {
    "minute": (timedelta(),),
    "hour": (timedelta(),),
    "day": tuple(timedelta(hours=hour) for hour in range(24)),
}
"""The hours or minutes whose totals are the totals of an interval.

Each is the time from the beginning of the interval to the beginning of the hour or minute.
"""

_DEFAULT_INTERVALS: Final[dict[Interval, int]] = {"minute": 60, "hour": 48, "day": 30}
_HOUR: Final = _LENGTHS["hour"]
_MIN_TIME: Final = datetime.min.replace(tzinfo=UTC)
_MAX_TIME: Final = datetime(9999, 12, 31, tzinfo=UTC)
_UTC: Final = CodecOptions[dict[str, Any]](tz_aware=True)
_CACHE_S: Final = 30.0


async def get_series(call: ChannelCall) -> ApiResponse:
    """Return a metric by minute, hour or day, in UTC.

    Without `from` and `to`, the series has the last 60 minutes, 48 hours or 30 days of the ledger.
    A range is extended to whole intervals. A series has at most 1,500 intervals.
    """
    metric = cast("Metric", call.query.require(METRIC))
    interval = cast("Interval", call.query.require(INTERVAL))
    length, numbers = _LENGTHS[interval], _interval_numbers(call, interval)
    since, until = (_MIN_TIME + number * length for number in (numbers.start, numbers.stop))
    all_totals = await channel_totals(call)
    totals: TotalsByTime = all_totals.blocks.hours
    if interval == "minute":
        check_number_of_blocks(totals, since, until)
        buckets = await call.channel.reader.totals_by_time(since, until, "minute", call.last)
        totals = {bucket.start: bucket.totals for bucket in buckets}
    starts = [_MIN_TIME + number * length for number in numbers]
    items = [Point(start, _value(metric, totals, interval, start)) for start in starts]
    series = Series(
        metric,
        interval,
        since,
        until,
        items,
        sum(point.value for point in items),
        all_totals.untimed_blocks,
        call.snapshot.height,
    )
    caching = ONE_DAY if _is_complete(call, until) else HALF_A_MINUTE
    return ApiResponse(series, caching, _CACHE_S)


def _value(metric: Metric, totals: TotalsByTime, interval: Interval, start: datetime) -> int:
    """Return the value of the metric in the interval that begins at `start`."""
    parts = (totals.get(start + offset) for offset in _OFFSETS_OF_TOTALS[interval])
    return sum(getattr(part, _FIELDS[metric]) for part in parts if part is not None)


def _interval_numbers(call: ChannelCall, interval: Interval) -> range:
    """Return the intervals that the request asks for, numbered from the year 1.

    Raises `ProblemError` when there are too many intervals.
    """
    read_time_range(call.query, FROM, TO)
    length, default_intervals = _LENGTHS[interval], _DEFAULT_INTERVALS[interval]
    since, until = _parse_time(call, FROM), _parse_time(call, TO)
    first = (since - _MIN_TIME) // length if since is not None else None
    if until is not None:
        stop = -((_MIN_TIME - until) // length)
    else:
        stop = (_head_time(call) - _MIN_TIME) // length + 1
        if first is not None and stop <= first:
            stop = first + default_intervals
        stop = min(stop, (_MAX_TIME - _MIN_TIME) // length)
    numbers = range(first if first is not None else max(0, stop - default_intervals), stop)
    if len(numbers) > MAX_INTERVALS:
        raise _range_too_large(
            f"The range has {len(numbers)} intervals of one {interval}.",
            f"At most {MAX_INTERVALS} intervals are possible, that is {MAX_INTERVALS * length}: "
            "narrow the range, or take a longer interval.",
            intervals=MAX_INTERVALS,
        )
    return numbers


def _parse_time(call: ChannelCall, parameter: Parameter[DatetimeMS]) -> datetime | None:
    """Return the time. Raises `ProblemError` when it is outside the years 1 to 9999."""
    time_ms = call.query.get(parameter)
    if time_ms is None:
        return None
    if not DatetimeMS(_MIN_TIME) <= time_ms <= DatetimeMS(_MAX_TIME):
        raise invalid_parameter(
            parameter.name,
            call.query.sent(parameter),
            f"a time from {_MIN_TIME.isoformat()} to {_MAX_TIME.isoformat()}",
        )
    return time_ms.as_datetime(_UTC)


def _head_time(call: ChannelCall) -> datetime:
    """Return the time of the head, or the time now if it has none.

    The clients of the transactions claimed the time of the head: it need not be true.
    """
    head = call.snapshot.head
    return head["ts"] if head is not None and head["ts"] is not None else datetime.now(UTC)


def check_number_of_blocks(hours: TotalsByTime, since: datetime, until: datetime) -> None:
    """Raise `ProblemError` when a series by minute would have to read too many blocks."""
    first_hour = since - (since - _MIN_TIME) % _HOUR
    blocks = sum(
        totals.blocks
        for hour, totals in hours.items()
        if hour is not None and first_hour <= hour < until
    )
    if blocks > MAX_BLOCKS_READ:
        raise _range_too_large(
            f"The hours of the range have {blocks} blocks. A series by minute reads all of them.",
            f"At most {MAX_BLOCKS_READ} blocks are possible: narrow the range, or take "
            "interval=hour.",
            blocks=MAX_BLOCKS_READ,
        )


def _range_too_large(detail: str, hint: str, **largest: int) -> ProblemError:
    return ProblemError(
        400,
        "range-too-large",
        "Range too large",
        detail,
        hint,
        parameter=FROM.name,
        largest=largest,
    )


def _is_complete(call: ChannelCall, until: datetime) -> bool:
    """Return whether no further block with a time before `until` is expected.

    No such block is expected when both the time of the head and the clock are an hour later.
    """
    return until + _HOUR <= min(_head_time(call), datetime.now(UTC))
