"""Series over time against the totals of the recorded blocks."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from pymongo import AsyncMongoClient

from explorer_api.http.problems import ProblemError
from explorer_api.resources.series import MAX_BLOCKS_READ, check_number_of_blocks
from ledger.model import Block, Timestamp
from ledger.mongodb.totals import BlockTotals
from tests.explorer_api.recorded_totals import RAFT, UNITS, block_time, block_totals
from tests.explorer_api.support import Api, C, Json, append, block, transaction


@pytest.mark.parametrize("metric", ["transactions", "valid", "blocks", "events", "bytes"])
@pytest.mark.parametrize("interval", ["minute", "hour", "day"])
async def test_a_series_has_the_totals_of_the_recorded_ledger(
    recorded_api: Api, metric: str, interval: str
) -> None:
    unit = UNITS[interval]
    expected: Counter[datetime] = Counter()
    for number in range(len(RAFT.blocks)):
        time = block_time(number)
        start = time - (time - datetime.min.replace(tzinfo=UTC)) % unit
        expected[start] += block_totals(number)[metric]
    since, until = min(expected), max(expected) + unit
    if interval != "minute":
        since, until = since - 3 * unit, until + 2 * unit
    parameters: Json = {
        "from": since.isoformat(),
        "to": (until - timedelta(milliseconds=1)).isoformat(),
    }
    series = await recorded_api.channel(
        "/stats/series", metric=metric, interval=interval, **parameters
    )
    starts = [since + n * unit for n in range((until - since) // unit)]
    shown = [(datetime.fromisoformat(point["start"]), point["value"]) for point in series["items"]]
    assert shown == [(start, expected[start]) for start in starts]
    assert series["total"] == expected.total()
    assert (datetime.fromisoformat(series["from"]), datetime.fromisoformat(series["to"])) == (
        since,
        until,
    )
    assert (series["metric"], series["interval"], series["untimedBlocks"], series["height"]) == (
        *(metric, interval),
        *(0, 136),
    )


@pytest.mark.parametrize(("interval", "count"), [("minute", 60), ("hour", 48), ("day", 30)])
async def test_without_a_range_the_series_ends_with_the_head(
    recorded_api: Api, interval: str, count: int
) -> None:
    series = await recorded_api.channel("/stats/series", interval=interval, metric="blocks")
    assert len(series["items"]) == count
    last = datetime.fromisoformat(series["items"][-1]["start"])
    assert last <= block_time(135) < last + UNITS[interval] == datetime.fromisoformat(series["to"])
    assert series["total"] > 0
    # one bound determines the other one
    only_to = await recorded_api.channel(
        "/stats/series", interval=interval, metric="blocks", to="2020-01-01T00:00:00Z"
    )
    assert (len(only_to["items"]), only_to["total"]) == (count, 0)
    beyond: Json = {"from": "2030-01-01T00:00:00Z"}
    later = await recorded_api.channel("/stats/series", interval=interval, **beyond)
    assert (len(later["items"]), later["total"]) == (count, 0)


@pytest.mark.parametrize(
    ("query", "name", "parameter"),
    [
        (
            "interval=minute&from=2026-11-20T00:00:00Z&to=2026-11-21T01:00:01Z",
            "range-too-large",
            "from",
        ),
        ("interval=hour&from=2026-01-01T00:00:00Z", "range-too-large", "from"),
        (
            "interval=day&from=0001-01-01T00:00:00Z&to=9999-12-31T00:00:00Z",
            "range-too-large",
            "from",
        ),
        ("from=2026-11-20T00:00:00Z&to=2026-11-20T00:00:00Z", "invalid-parameter", "from"),
        ("to=9999-12-31T00:00:00.001Z", "invalid-parameter", "to"),
        ("from=0001-01-01T00:00:00%2B01:00", "invalid-parameter", "from"),
        ("from=2026-11-20", "invalid-parameter", "from"),
        ("interval=week", "invalid-parameter", "interval"),
        ("metric=money", "invalid-parameter", "metric"),
        ("since=2026-11-20T00:00:00Z", "unknown-parameter", "since"),
    ],
)
async def test_a_wrong_range_is_refused(
    recorded_api: Api, query: str, name: str, parameter: str
) -> None:
    response = await recorded_api.problem(f"{C}/stats/series?{query}", 400, name)
    assert response.json["parameter"] == parameter
    if name == "range-too-large":
        assert response.json["largest"] == {"intervals": 1500}


async def test_a_range_may_have_1500_intervals(recorded_api: Api) -> None:
    for interval, days in (("minute", 1500 / 1440), ("hour", 1500 / 24), ("day", 1500)):
        since = datetime(2026, 11, 20, tzinfo=UTC)
        until = since + timedelta(days=days)
        parameters: Json = {"from": since.isoformat(), "to": until.isoformat()}
        series = await recorded_api.channel(
            "/stats/series", interval=interval, metric="blocks", **parameters
        )
        assert (len(series["items"]), series["total"]) == (1500, 136)


def test_the_blocks_read_for_a_series_by_minute_are_limited() -> None:
    """The totals of the hours in which the range begins and ends tell their number."""
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    hours: dict[datetime | None, BlockTotals] = {None: BlockTotals(blocks=10**9)}
    hours |= {noon + timedelta(hours=n): BlockTotals(blocks=MAX_BLOCKS_READ // 2) for n in range(4)}
    check_number_of_blocks(hours, noon + timedelta(minutes=59), noon + timedelta(minutes=61))
    with pytest.raises(ProblemError) as caught:
        check_number_of_blocks(hours, noon + timedelta(minutes=59), noon + timedelta(minutes=121))
    assert (caught.value.status, caught.value.name) == (400, "range-too-large")
    assert caught.value.members["largest"] == {"blocks": MAX_BLOCKS_READ}


async def test_only_a_series_of_the_past_is_cached_for_a_day(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    """A series is cached for a day only if the range is past by the ledger's clock and by ours."""
    now = datetime.now(UTC)

    def at(number: int, when: datetime) -> Block:
        return block(
            number, [transaction(0, f"{number}", timestamp=Timestamp(int(when.timestamp()), 0))]
        )

    async def caching(until: datetime) -> str:
        path = f"{C}/stats/series?to={quote(until.isoformat())}"
        return (await api.get(path)).headers["Cache-Control"]

    await append(client, database_name, [at(0, now)])
    assert await caching(now - timedelta(hours=2)) == "max-age=86400"
    assert await caching(now - timedelta(minutes=30)) == "max-age=30"
    await append(client, database_name, [at(1, datetime(9999, 1, 1, tzinfo=UTC))])
    assert await caching(now + timedelta(hours=2)) == "max-age=30"
    await append(client, database_name, [at(2, now - timedelta(hours=9))])
    assert await caching(now - timedelta(hours=2)) == "max-age=30"
    assert (await api.get(f"{C}/stats")).headers["Cache-Control"] == "max-age=30"
