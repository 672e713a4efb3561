"""Statistics against sums over the recorded blocks, as Fabric's own tools show them."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from pymongo import AsyncMongoClient

from explorer_api.app import create_app, serve
from explorer_api.http.problems import ProblemError
from explorer_api.options import Options
from explorer_api.resources.series import MAX_BLOCKS_READ, check_number_of_blocks
from ledger.model import Block, Identity, Timestamp
from ledger.mongodb.totals import BlockTotals
from protos import common_pb2 as common
from tests.explorer_api.support import (
    CHANNEL,
    Api,
    Json,
    action,
    append,
    block,
    transaction,
    with_event,
)
from tests.ledger.recorded import Recorded, recorded

C = f"/api/v1/channels/{CHANNEL}"
RAFT: Recorded = recorded("raft-2.5")
UNITS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
MVCC_READ_CONFLICT = 11


def headers(number: int) -> list[Json]:
    """The headers of a recorded block's envelopes."""
    return [envelope["payload"]["header"] for envelope in RAFT.decoded[number]["data"]["data"]]


def chaincode(number: int, index: int) -> str | None:
    payload = RAFT.decoded[number]["data"]["data"][index]["payload"]
    if not payload["header"]["channel_header"]["extension"]:
        return None
    (invoked,) = payload["data"]["actions"]
    name: str = invoked["payload"]["action"]["proposal_response_payload"]["extension"][
        "chaincode_id"
    ]["name"]
    return name


def size(number: int) -> int:
    return sum(map(len, common.Block.FromString(RAFT.blocks[number]).data.data))


def ts(number: int) -> datetime:
    """The lower median of the clients' times."""
    times = sorted(
        datetime.fromisoformat(header["channel_header"]["timestamp"]) for header in headers(number)
    )
    median = times[(len(times) - 1) // 2]
    return median.replace(microsecond=median.microsecond // 1000 * 1000)


def figures(number: int) -> dict[str, int]:
    """What each metric has of a recorded block."""
    codes = [tx["validation"] for tx in RAFT.filtered[number]["txs"]]
    return {
        "blocks": 1,
        "transactions": len(codes),
        "valid": codes.count("VALID"),
        "events": sum(event["blockNumber"] == number for event in RAFT.events),
        "bytes": size(number),
    }


async def test_the_recorded_ledger_added_up(recorded_api: Api) -> None:
    stats = await recorded_api.channel("/stats")
    numbers = range(len(RAFT.blocks))
    txs = [tx for filtered in RAFT.filtered for tx in filtered["txs"]]
    creators = [
        header["signature_header"]["creator"] for number in numbers for header in headers(number)
    ]
    organisations = Counter(
        creator["mspid"] if creator is not None else None for creator in creators
    )
    invoked = Counter(
        chaincode(number, index) for number in numbers for index in range(len(headers(number)))
    )
    events = Counter(event["chaincodeName"] for event in RAFT.events)
    types = Counter(common.HeaderType.Name(tx["type"]) for tx in txs)

    assert stats["height"] == 136
    for name in ("blocks", "transactions", "valid", "events", "bytes"):
        assert stats[name] == sum(figures(number)[name] for number in numbers)
    assert stats["untimedBlocks"] == 0
    statuses = {row["status"]: (row["code"], row["transactions"]) for row in stats["statuses"]}
    assert statuses == {
        name: (code, count)
        for (name, code), count in Counter((tx["validation"], tx["code"]) for tx in txs).items()
    }
    assert {row["type"]: row["transactions"] for row in stats["types"]} == types
    assert {row["mspId"]: row["transactions"] for row in stats["organisations"]} == organisations
    assert {row["name"]: (row["transactions"], row["events"]) for row in stats["chaincodes"]} == {
        name: (count, events[name]) for name, count in invoked.items()
    }
    for rows in ("statuses", "types", "organisations", "chaincodes"):
        counts = [row["transactions"] for row in stats[rows]]
        assert counts == sorted(counts, reverse=True)
        assert sum(counts) == stats["transactions"]


@pytest.mark.parametrize("metric", ["transactions", "valid", "blocks", "events", "bytes"])
@pytest.mark.parametrize("interval", ["minute", "hour", "day"])
async def test_the_recorded_ledger_over_time(recorded_api: Api, metric: str, interval: str) -> None:
    unit = UNITS[interval]
    wanted: Counter[datetime] = Counter()
    for number in range(len(RAFT.blocks)):
        wanted[ts(number) - (ts(number) - datetime.min.replace(tzinfo=UTC)) % unit] += figures(
            number
        )[metric]
    since, until = min(wanted), max(wanted) + unit
    if interval != "minute":
        since, until = since - 3 * unit, until + 2 * unit
    parameters: Json = {
        "from": since.isoformat(),
        "to": (until - timedelta(milliseconds=1)).isoformat(),
    }
    answer = await recorded_api.channel(
        "/stats/series", metric=metric, interval=interval, **parameters
    )
    starts = [since + n * unit for n in range((until - since) // unit)]
    shown = [(datetime.fromisoformat(point["start"]), point["value"]) for point in answer["items"]]
    assert shown == [(start, wanted[start]) for start in starts]
    assert answer["total"] == wanted.total()
    assert (datetime.fromisoformat(answer["from"]), datetime.fromisoformat(answer["to"])) == (
        since,
        until,
    )
    assert (answer["metric"], answer["interval"], answer["untimedBlocks"], answer["height"]) == (
        *(metric, interval),
        *(0, 136),
    )


@pytest.mark.parametrize(("interval", "count"), [("minute", 60), ("hour", 48), ("day", 30)])
async def test_without_a_range_the_ledgers_last_times_are_shown(
    recorded_api: Api, interval: str, count: int
) -> None:
    answer = await recorded_api.channel("/stats/series", interval=interval, metric="blocks")
    assert len(answer["items"]) == count
    last = datetime.fromisoformat(answer["items"][-1]["start"])
    assert last <= ts(135) < last + UNITS[interval] == datetime.fromisoformat(answer["to"])
    assert answer["total"] > 0
    # with one bound the other one follows from it
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
async def test_ranges_that_are_refused(
    recorded_api: Api, query: str, name: str, parameter: str
) -> None:
    response = await recorded_api.problem(f"{C}/stats/series?{query}", 400, name)
    assert response.json["parameter"] == parameter
    if name == "range-too-large":
        assert response.json["largest"] == {"intervals": 1500}


async def test_the_largest_range_is_answered(recorded_api: Api) -> None:
    for interval, days in (("minute", 1500 / 1440), ("hour", 1500 / 24), ("day", 1500)):
        since = datetime(2026, 11, 20, tzinfo=UTC)
        until = since + timedelta(days=days)
        parameters: Json = {"from": since.isoformat(), "to": until.isoformat()}
        answer = await recorded_api.channel(
            "/stats/series", interval=interval, metric="blocks", **parameters
        )
        assert (len(answer["items"]), answer["total"]) == (1500, 136)


def test_a_series_by_minute_reads_no_more_blocks_than_it_can() -> None:
    """The hours that the range touches tell how many they are."""
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    hours: dict[datetime | None, BlockTotals] = {None: BlockTotals(blocks=10**9)}
    hours |= {noon + timedelta(hours=n): BlockTotals(blocks=MAX_BLOCKS_READ // 2) for n in range(4)}
    check_number_of_blocks(hours, noon + timedelta(minutes=59), noon + timedelta(minutes=61))
    with pytest.raises(ProblemError) as caught:
        check_number_of_blocks(hours, noon + timedelta(minutes=59), noon + timedelta(minutes=121))
    assert (caught.value.status, caught.value.name) == (400, "range-too-large")
    assert caught.value.members["largest"] == {"blocks": MAX_BLOCKS_READ}


async def test_what_may_be_kept(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    """A day where no block is to be expected any more: by the ledger's time and by ours, of which one may be forged."""
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


@pytest.mark.parametrize("seconds", [-62135596800, 253402300799, None])
async def test_forged_times_and_names(
    api: Api, client: AsyncMongoClient[Any], database_name: str, seconds: int | None
) -> None:
    """A head of the year 1 or 9999, or of no time; names that nobody should have."""
    when = Timestamp(seconds, 999_999_999) if seconds is not None else None
    long, strange = "l" * 5000, "a\x00\u202e'$where/😀"
    stranger = Identity(strange, "x509", None, None, None)
    await append(
        client,
        database_name,
        [
            block(
                0,
                [
                    with_event(0, "a", "Mint", b"{}"),
                    transaction(1, "b", MVCC_READ_CONFLICT, timestamp=None),
                ],
            ),
            block(1, [transaction(0, "c", 77, type=99, timestamp=None, chaincode_id=None)]),
            block(
                2,
                [
                    transaction(
                        0,
                        "d",
                        254,
                        type=None,
                        timestamp=when,
                        chaincode_id=strange,
                        creator=stranger,
                    ),
                    transaction(1, "e", timestamp=when, chaincode_id=long, actions=(action(),)),
                ],
            ),
        ],
    )
    stats = await api.channel("/stats")
    assert stats["untimedBlocks"] == (1 if when is not None else 2)
    assert {(row["status"], row["code"], row["transactions"]) for row in stats["statuses"]} == {
        *(("VALID", 0, 2), ("MVCC_READ_CONFLICT", 11, 1)),
        *(("77", 77, 1), ("NOT_VALIDATED", 254, 1)),
    }
    assert {row["type"]: row["transactions"] for row in stats["types"]} == {
        "ENDORSER_TRANSACTION": 3,
        "99": 1,
        None: 1,
    }
    assert {row["mspId"]: row["transactions"] for row in stats["organisations"]} == {
        None: 4,
        strange: 1,
    }
    chaincodes = {row["name"]: (row["transactions"], row["events"]) for row in stats["chaincodes"]}
    assert chaincodes == {"token": (2, 1), strange: (1, 0), None: (2, 0)}
    for interval in UNITS:
        answer = await api.channel("/stats/series", interval=interval, metric="blocks")
        assert len(answer["items"]) > 0
        assert answer["untimedBlocks"] == stats["untimedBlocks"]
        if interval == "hour" and seconds is not None:
            beyond_reason = seconds > 253402214400
            assert answer["items"][-1]["value"] == (0 if beyond_reason else 1)


async def test_an_empty_channel_has_sums(api: Api) -> None:
    stats = await api.channel("/stats")
    assert {name: value for name, value in stats.items() if value} == {}
    series = await api.channel("/stats/series")
    assert (len(series["items"]), series["total"], series["height"]) == (48, 0, 0)


async def test_what_is_answered_while_the_ledger_is_added_up(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    """Here for ever, since nothing runs in the background."""
    await append(client, database_name, [block(n, [transaction(0, f"tx {n}")]) for n in range(3)])
    app = create_app(
        client, {CHANNEL: database_name}, version="1.2.3", options=Options(seconds_per_request=0.5)
    )
    app.cleanup_ctx.clear()
    runner, port = await serve(app, "127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session:
            api = Api(session, f"http://127.0.0.1:{port}")
            paths = [
                f"{C}{path}"
                for path in ("/stats", "/stats/series", "/chaincodes", "/chaincodes/token")
            ]
            for response in await asyncio.gather(
                *(api.problem(path, 503, "totals-not-ready") for path in paths)
            ):
                assert int(response.headers["Retry-After"]) > 0
                assert (response.json["counted"], response.json["blocks"]) == (0, 3)
            detail = await api.channel()
            assert (detail["height"], detail["counts"]) == (3, None)
            findings = await api.channel("/search", q="tx 1")
            assert [hit["type"] for hit in findings["items"]] == ["transaction"]
            assert findings["notSearched"] == ["chaincode"]
    finally:
        await runner.cleanup()
