"""A channel's activity over time: sums over the blocks of each minute, hour or day."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from bson.codec_options import CodecOptions
from bson.datetime_ms import DatetimeMS

from explorer_api.http.parameters import Parameter, choice, time
from explorer_api.http.problems import ProblemError, invalid_parameter
from explorer_api.http.responses import ONE_DAY, ApiResponse
from explorer_api.resources.filters import read_range
from explorer_api.resources.stats import HALF_A_MINUTE, channel_totals
from explorer_api.routing.calls import ChannelCall
from explorer_api.schemas.stats import Interval, Metric, Point, Series
from ledger.mongodb.totals import BlockTotals

MAX_INTERVALS: Final = 1_500
MAX_BLOCKS_READ: Final = 250_000
"""For a series by minute, whose blocks are read; the hours that its range touches have no more."""

_Totals = Mapping[datetime | None, BlockTotals]

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
_PARTS: Final[dict[Interval, tuple[timedelta, ...]]] = {
    "minute": (timedelta(),),
    "hour": (timedelta(),),
    "day": tuple(timedelta(hours=hour) for hour in range(24)),
}
"""Of which sums an interval is made up: those that begin so long after it."""

_SHOWN: Final[dict[Interval, int]] = {"minute": 60, "hour": 48, "day": 30}
_HOUR: Final = _LENGTHS["hour"]
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_END: Final = datetime(9999, 12, 31, tzinfo=UTC)
_UTC: Final = CodecOptions[dict[str, Any]](tz_aware=True)
_KEPT_S: Final = 30.0


async def get_series(call: ChannelCall) -> ApiResponse:
    """A metric by minute, hour or day, in UTC.

    Without a range that is the ledger's last 60 minutes, 48 hours or 30 days. A range is widened to whole intervals,
    of which there may be 1,500.
    """
    metric = cast("Metric", call.query.require(METRIC))
    interval = cast("Interval", call.query.require(INTERVAL))
    length, numbers = _LENGTHS[interval], _range(call, interval)
    since, until = (_BEGINNING + number * length for number in (numbers.start, numbers.stop))
    counted = await channel_totals(call)
    totals: _Totals = counted.blocks.hours
    if interval == "minute":
        _check_blocks(totals, since, until)
        buckets = await call.channel.reader.totals_by_time(since, until, "minute", call.last)
        totals = {bucket.start: bucket.totals for bucket in buckets}
    starts = [_BEGINNING + number * length for number in numbers]
    items = [Point(start, _value(metric, totals, start, _PARTS[interval])) for start in starts]
    total = sum(point.value for point in items)
    series = Series(
        metric, interval, since, until, items, total, counted.untimed_blocks, call.snapshot.height
    )
    return ApiResponse(series, ONE_DAY if _is_closed(call, until) else HALF_A_MINUTE, _KEPT_S)


def _value(metric: Metric, totals: _Totals, start: datetime, parts: Sequence[timedelta]) -> int:
    field_name = _FIELDS[metric]
    found = (totals.get(start + part) for part in parts)
    return sum(getattr(each, field_name) for each in found if each is not None)


def _range(call: ChannelCall, interval: Interval) -> range:
    """The intervals asked for, numbered from the beginning of time. Raises `ProblemError` where they are too many."""
    read_range(call.query, FROM, TO, exclusive=True)
    length, shown = _LENGTHS[interval], _SHOWN[interval]
    since, until = _moment(call, FROM), _moment(call, TO)
    first = (since - _BEGINNING) // length if since is not None else None
    if until is not None:
        beyond = -((_BEGINNING - until) // length)
    else:
        beyond = (_head_time(call) - _BEGINNING) // length + 1
        if first is not None and beyond <= first:
            beyond = first + shown
        beyond = min(beyond, (_END - _BEGINNING) // length)
    numbers = range(first if first is not None else max(0, beyond - shown), beyond)
    if len(numbers) > MAX_INTERVALS:
        raise _too_large(
            f"The range has {len(numbers)} intervals of one {interval}.",
            f"At most {MAX_INTERVALS}, that is {MAX_INTERVALS * length}: narrow the range, or take a longer interval.",
            intervals=MAX_INTERVALS,
        )
    return numbers


def _moment(call: ChannelCall, parameter: Parameter[DatetimeMS]) -> datetime | None:
    given = call.query.get(parameter)
    if given is None:
        return None
    if not DatetimeMS(_BEGINNING) <= given <= DatetimeMS(_END):
        raise invalid_parameter(
            parameter.name,
            call.query.sent(parameter),
            f"a time from {_BEGINNING.isoformat()} to {_END.isoformat()}",
        )
    return given.as_datetime(_UTC)


def _head_time(call: ChannelCall) -> datetime:
    """The time of the head, which is none's but its clients' word; now where it has none."""
    head = call.snapshot.head
    return head["ts"] if head is not None and head["ts"] is not None else datetime.now(UTC)


def _check_blocks(hours: _Totals, since: datetime, until: datetime) -> None:
    """Raises `ProblemError` where too many blocks would have to be read."""
    first = since - (since - _BEGINNING) % _HOUR
    blocks = sum(
        totals.blocks
        for hour, totals in hours.items()
        if hour is not None and first <= hour < until
    )
    if blocks > MAX_BLOCKS_READ:
        raise _too_large(
            f"The range, in whole hours, has {blocks} blocks, and a series by minute reads each of them.",
            f"At most {MAX_BLOCKS_READ} blocks by minute: narrow the range, or take interval=hour.",
            blocks=MAX_BLOCKS_READ,
        )


def _too_large(detail: str, hint: str, **largest: int) -> ProblemError:
    return ProblemError(
        400,
        "range-too-large",
        "Range too large",
        detail,
        hint,
        parameter=FROM.name,
        largest=largest,
    )


def _is_closed(call: ChannelCall, until: datetime) -> bool:
    """Whether no block is to be expected any more whose time is before `until`: not by the ledger, nor by our clock."""
    return until + _HOUR <= min(_head_time(call), datetime.now(UTC))
