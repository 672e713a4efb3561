"""Every query of the reader over a long ledger: right, on an index, at a cost that does not grow with the ledger."""

import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import DuplicateKeyError

from ledger.documents.code_names import status_name
from ledger.mongodb.event_queries import EventFilter
from ledger.mongodb.paging import Page, Window
from ledger.mongodb.reader import LedgerReader
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.totals import BlockTotals, Bucket, ChaincodeTotals, LedgerTotals
from ledger.mongodb.transaction_queries import TransactionFilter
from ledger.position import BlockNumber, highest_block_below, unpack_position
from tests.ledger import scale
from tests.ledger.scale import BEGAN, BLOCK_COUNT, LAST, LONG_NAME, Fact, facts
from tests.ledger.watching import Plan, Queries, explain

LIMIT = 20
BUILD_SECONDS = 100.0
Blocks = tuple[BlockNumber, BlockNumber]
"""The first and the last block of a range."""

EVERYTHING: Blocks = (BlockNumber(0), LAST)
MIDDLE: Blocks = (BlockNumber(BLOCK_COUNT // 3), BlockNumber(BLOCK_COUNT * 2 // 3))

Read = Callable[[BlockNumber, BlockNumber, Window], Awaitable[Page]]


@pytest.fixture(scope="session")
def database(mongo_uri: str, request: pytest.FixtureRequest) -> str:
    """The long ledger: stored by the first process of a run that wants it, while the others wait."""
    run = getattr(request.config, "workerinput", {}).get("testrunuid") or uuid.uuid4().hex
    name = f"scale_{run[:16]}"
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        signs = client[f"{name}_signs"]["signs"]
        try:
            signs.insert_one({"_id": "begun"})
        except DuplicateKeyError:
            deadline = time.monotonic() + BUILD_SECONDS
            while signs.find_one({"_id": "built"}) is None:
                assert time.monotonic() < deadline, (
                    "the process that stores the long ledger has not done so"
                )
                time.sleep(0.2)
            return name
        scale.build(mongo_uri, name)
        signs.insert_one({"_id": "built"})
    return name


class Ledger:
    """A reader of the long ledger whose queries are looked at."""

    def __init__(
        self, client: AsyncMongoClient[dict[str, Any]], name: str, queries: Queries
    ) -> None:
        self.reader = LedgerReader(client, name)
        self._database, self._queries = client[name], queries

    async def plans(self) -> list[Plan]:
        """The plans of the queries that were sent; none looks at a whole collection, all read what the majority has."""
        plans = []
        for command in self._queries.take():
            assert command["readConcern"] == {"level": "majority"}
            plan = await explain(self._database, command)
            self._queries.take()
            assert "COLLSCAN" not in plan.stages, command
            plans.append(plan)
        return plans


@pytest.fixture
async def ledger(mongo_uri: str, database: str) -> AsyncIterator[Ledger]:
    queries = Queries()
    async with AsyncMongoClient[dict[str, Any]](mongo_uri, event_listeners=[queries]) as client:
        await LedgerStore(client, database).prepare()
        queries.take()
        yield Ledger(client, database, queries)


def places(holds: Callable[[Fact], bool], blocks: Blocks) -> list[int]:
    """The positions of the transactions of these blocks for which it holds."""
    first, last = blocks
    return [fact.place for fact in facts() if first <= fact.block <= last and holds(fact)]


async def check_list(
    ledger: Ledger, read: Read, expected: Sequence[int], blocks: Blocks, **cost: Any
) -> None:
    """The first page, a deep one and the last one, in both directions."""
    count = len(expected)
    deep, end = count * 3 // 5, max(0, count - LIMIT // 2)
    for descending, start in {(False, 0), (False, deep), (True, 0), (True, deep), (True, end)}:
        order = expected[::-1] if descending else expected
        window = Window(LIMIT, descending, order[start - 1] if start else None)
        page = await read(*blocks, window)
        assert [document["_id"] for document in page.documents] == order[start : start + LIMIT]
        assert page.more == (count > start + LIMIT)
        await check_cost(ledger, **cost)


async def check_cost(ledger: Ledger, *, sorts: bool = False, extra: int = 0) -> None:
    for plan in await ledger.plans():
        assert sorts or "SORT" not in plan.stages
        if plan.stages & {"DISTINCT_SCAN"}:
            assert (plan.documents, plan.keys <= 258) == (0, True)
            continue
        assert plan.stages & {"IXSCAN", "IDHACK", "CLUSTERED_IXSCAN"}, plan.stages
        assert plan.documents <= LIMIT + 1 + extra, plan.__dict__
        assert plan.keys <= 2 * (LIMIT + 1 + extra) + 2 * plan.scans, plan.__dict__


# --- transactions -----------------------------------------------------------------------------------------------------

ALL_CODES = frozenset(range(256))


@pytest.mark.parametrize(
    "equalities",
    [
        *({}, {"chaincode": "kindledger"}, {"chaincode": "rare"}),
        *({"chaincode": "kindledger", "function": name} for name in ("Donate", "Close", LONG_NAME)),
        *({"creator_msp": "Org1MSP"}, {"creator_msp": "Org3MSP"}),
        *({"type": "ENDORSER_TRANSACTION"}, {"type": "1"}, {"type": "99"}),
    ],
    ids=lambda equalities: " ".join(equalities.values())[:40],
)
async def test_transactions(ledger: Ledger, equalities: dict[str, str]) -> None:
    """Of one kind, with any validation codes, in any blocks."""
    meant = {name: "CONFIG" if value == "1" else value for name, value in equalities.items()}
    of_kind = [
        fact
        for fact in facts()
        if all(getattr(fact, name) == value for name, value in meant.items())
    ]
    for codes, excluded, blocks in (
        (None, False, EVERYTHING),
        (None, False, MIDDLE),
        (frozenset({0}), False, MIDDLE),
        (frozenset({10}), False, EVERYTHING),
        (frozenset({10, 11, 200}), False, MIDDLE),
        (ALL_CODES, False, EVERYTHING),
        (frozenset({0, 11}), True, EVERYTHING),
        (ALL_CODES, True, EVERYTHING),
    ):
        wanted = TransactionFilter(**equalities, codes=codes, excluded=excluded)
        with_codes = [fact for fact in of_kind if codes is None or (fact.code in codes) != excluded]
        expected = [fact.place for fact in with_codes if blocks[0] <= fact.block <= blocks[1]]
        await check_list(ledger, partial(ledger.reader.transactions, wanted), expected, blocks)


@pytest.mark.parametrize("descending", [False, True])
async def test_large_rows_end_a_page_early(
    mongo: AsyncMongoClient[dict[str, Any]], database: str, descending: bool
) -> None:
    """Rows of different codes come from different queries; no row is skipped."""
    reader = LedgerReader(mongo, database, max_page_bytes=1_000)
    blocks = (BlockNumber(2_000), BlockNumber(3_500))
    wanted, after, found = TransactionFilter(codes=ALL_CODES - {0, 9, 11}), None, list[int]()
    expected = places(lambda fact: fact.code not in (0, 9, 11), blocks)
    more = True
    while more:
        page = await reader.transactions(wanted, *blocks, Window(LIMIT, descending, after))
        assert page.documents
        found += [document["_id"] for document in page.documents]
        after, more = found[-1], page.more
    assert found == sorted(expected, reverse=descending)


async def test_a_combination_without_an_index_is_refused(ledger: Ledger) -> None:
    for wanted in (
        TransactionFilter(function="Donate"),
        TransactionFilter(chaincode="kindledger", creator_msp="Org1MSP"),
        TransactionFilter(creator_msp="Org1MSP", type="CONFIG"),
    ):
        with pytest.raises(ValueError, match="no index"):
            await ledger.reader.transactions(wanted, 0, LAST, Window(1, descending=False))
    with pytest.raises(ValueError, match="no index"):
        await ledger.reader.matching_events(
            EventFilter("a", tx_id="b"), 0, LAST, Window(1, descending=False)
        )


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (None, BEGAN + timedelta(hours=2)),
        (BEGAN + timedelta(hours=2), None),
        (BEGAN, BEGAN + timedelta(minutes=2)),
    ],
)
async def test_by_time(ledger: Ledger, since: datetime | None, until: datetime | None) -> None:
    """Transactions and blocks: hundreds have the same time, some none, some one of another millennium."""
    bounds = [DatetimeMS(bound) if bound is not None else None for bound in (since, until)]

    def within(ts: datetime | None) -> bool:
        return ts is not None and (since is None or ts >= since) and (until is None or ts < until)

    transactions = [(fact.ts, fact.place) for fact in facts() if fact.visible and within(fact.ts)]
    blocks = [(ts, number) for number in range(LAST + 1) if within(ts := scale.block_ts(number))]
    for read, timed in (
        (ledger.reader.transactions_by_time, transactions),
        (ledger.reader.blocks_by_time, blocks),
    ):
        for descending in (False, True):
            order = sorted(timed, reverse=descending)
            for start in (0, 7, len(order) // 2, len(order) - 5):
                after_ts, after = order[start - 1] if start else (None, None)
                page = await read(
                    bounds[0], bounds[1], LAST, Window(LIMIT, descending, after), after_ts
                )
                shown = [document["_id"] for document in page.documents]
                assert shown == [place for _, place in order[start : start + LIMIT]]
                assert page.more == (len(order) > start + LIMIT)
                await check_cost(ledger, extra=scale.HIDDEN * scale.PER_BLOCK)


async def test_a_block(ledger: Ledger) -> None:
    async def read(first: BlockNumber, _last: BlockNumber, window: Window) -> Page:
        return await ledger.reader.block_transactions(first, window)

    await check_list(
        ledger,
        read,
        [fact.place for fact in scale.block_facts(777)],
        (BlockNumber(777), BlockNumber(777)),
    )
    rows = await ledger.reader.transaction_rows(777)
    assert [row["txId"] for row in rows] == [fact.tx_id for fact in scale.block_facts(777)]


async def test_one_transaction_in_one_round_trip(ledger: Ledger) -> None:
    reader = ledger.reader
    repeated = next(fact.claimed for fact in facts() if fact.claimed is not None)
    repeats = [fact.place for fact in facts() if fact.visible and fact.claimed == repeated]
    owner = next(fact for fact in facts() if fact.tx_id == repeated)
    record = await reader.transaction_record(str(repeated), LAST, 3)
    assert record is not None
    assert (record.transaction["_id"], record.event) == (owner.place, None)
    assert [repeat["_id"] for repeat in record.repeats] == repeats[:3]
    assert (
        await reader.transaction_record(str(repeated), highest_block_below(owner.block), 3) is None
    )
    donation = next(fact for fact in facts() if fact.event is not None and fact.number > 100_000)
    ledger._queries.take()
    by_id = await reader.transaction_record(str(donation.tx_id), LAST, 100)
    (plan,) = await ledger.plans()
    assert plan.indexes == {"txId_1", "claimedTxId_1__id_1"}
    assert plan.documents == 2
    by_place = await reader.transaction_record_at(*unpack_position(donation.place))
    assert by_id == by_place
    assert by_id is not None
    assert by_id.event is not None
    assert (by_id.event["_id"], by_id.repeats) == (donation.place, [])
    assert await reader.owner_position(str(donation.tx_id), LAST) == donation.place
    hidden = next(fact for fact in facts() if not fact.visible and fact.claimed is None)
    assert await reader.transaction_record(str(hidden.tx_id), LAST, 100) is None
    assert await reader.owner_position(str(hidden.tx_id), LAST) is None


async def test_ids_by_their_beginning(ledger: Ledger) -> None:
    hidden = next(str(fact.tx_id) for fact in facts() if not fact.visible and fact.claimed is None)
    for prefix in ("0000", "8", "ffff", "zz", hidden[:9]):
        visible = (str(fact.tx_id) for fact in facts() if fact.visible and fact.claimed is None)
        expected = sorted(tx_id for tx_id in visible if tx_id.startswith(prefix))[:LIMIT]
        rows = await ledger.reader.transactions_by_id_prefix(prefix, LAST, LIMIT)
        assert [row["txId"] for row in rows] == expected
        await check_cost(ledger, extra=scale.HIDDEN * scale.PER_BLOCK)


async def test_chaincode_definitions(ledger: Ledger) -> None:
    expected = places(lambda fact: fact.chaincode == "_lifecycle" and fact.code == 0, EVERYTHING)
    for name, found in ((None, expected), ("kindledger", expected), ("token", [])):
        definitions = await ledger.reader.chaincode_definitions(LAST, name)
        assert [definition["_id"] for definition in definitions] == found
        await check_cost(ledger)


# --- events -----------------------------------------------------------------------------------------------------------


def in_field(payload: Any, field: str) -> list[Any]:
    """The values that a path has in a payload, of lists each element, too; of an element without it None."""
    if isinstance(payload, list):
        return [value for item in payload for value in in_field(item, field) or [None]]
    if not isinstance(payload, dict) or field not in payload:
        return []
    value = payload[field]
    return [value, *value] if isinstance(value, list) else [value]


def equals(stored: Any, value: Any) -> bool:
    """As JSON has it: true is not 1."""
    return bool(stored == value) and isinstance(stored, bool) == isinstance(value, bool)


def has_campaign(fact: Fact, *values: Any) -> bool:
    """Whether the event's campaign is one of the values."""
    stored = in_field(fact.event[1], "campaignId") if fact.event is not None else []
    return any(equals(one, value) for one in stored for value in values)


@pytest.mark.parametrize(
    ("chaincode", "campaign", "value"),
    [
        *((None, None, None), ("kindledger", None, None), ("rare", None, None)),
        *((None, name, None) for name in ("common", "c77", "x", '{"campaignId":5}', "c77 ")),
        *((None, "5", 5), (None, "5.5", 5.5), (None, "5e0", 5), (None, "true", True)),
        (None, "123456789012345678901", {"bigInteger": "123456789012345678901"}),
    ],
)
async def test_events(
    ledger: Ledger, chaincode: str | None, campaign: str | None, value: Any
) -> None:
    """Of one kind, with any names, in any blocks."""
    values = (campaign,) if value is None else (campaign, value)
    of_kind = [
        fact
        for fact in facts()
        if fact.event is not None
        and (chaincode is None or fact.chaincode == chaincode)
        and (campaign is None or has_campaign(fact, *values))
    ]
    payload = ("campaignId", campaign) if campaign is not None else None
    for names, blocks in (
        (None, EVERYTHING),
        (None, MIDDLE),
        (("DonationReceived",), MIDDLE),
        (("Closed",), EVERYTHING),
        (("Closed", "Transferred", LONG_NAME), MIDDLE),
    ):
        wanted = EventFilter(chaincode, names, None, payload)
        with_names = [
            fact
            for fact in of_kind
            if names is None or (fact.event is not None and fact.event[0] in names)
        ]
        expected = [fact.place for fact in with_names if blocks[0] <= fact.block <= blocks[1]]
        await check_list(ledger, partial(ledger.reader.matching_events, wanted), expected, blocks)


async def test_events_without_a_value(ledger: Ledger) -> None:
    """Null is also what an element of a list lacks; an empty list is neither."""
    expected = places(lambda fact: has_campaign(fact, "null", None), EVERYTHING)
    read = partial(ledger.reader.matching_events, EventFilter(payload=("campaignId", "null")))
    await check_list(ledger, read, expected, EVERYTHING, extra=LIMIT)


async def test_events_of_a_transaction(ledger: Ledger) -> None:
    fact = next(fact for fact in facts() if fact.event is not None and fact.number > 50_000)
    for names, expected in ((None, [fact.place]), (("Closed",), [])):
        read = partial(
            ledger.reader.matching_events, EventFilter(tx_id=str(fact.tx_id), names=names)
        )
        await check_list(ledger, read, expected, EVERYTHING, sorts=True)


async def test_whether_a_name_occurs(ledger: Ledger) -> None:
    for name, occurs in (
        ("Closed", True),
        ("DonationReceived", True),
        ("Opened", False),
        (LONG_NAME, False),
    ):
        assert await ledger.reader.has_event_name(name, LAST) == occurs
        await check_cost(ledger)


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("namespace", "key"),
    [
        *(
            ("kindledger", "total"),
            ("token", "total"),
            ("kindledger", "donation:77777"),
            ("kindledger", ""),
        ),
        *(("kindledger", "\0donation\0An\0"), ("kindledger", "absent"), ("absent", "total")),
    ],
)
async def test_the_history_of_a_key(ledger: Ledger, namespace: str, key: str) -> None:
    def wrote(fact: Fact) -> bool:
        return fact.code == 0 and (namespace, key) in fact.writes

    async def read(first: BlockNumber, last: BlockNumber, window: Window) -> Page:
        page = await ledger.reader.key_history(namespace, key, first, last, window)
        for document in page.documents:
            fact = facts()[document["blockNumber"] * scale.PER_BLOCK + document["txIndex"]]
            deleted = fact.number % 11 == 1
            write = (
                {"isDelete": True} if deleted else {"value": str(fact.number), "isDelete": False}
            )
            assert document["writes"] == [write]
            assert (document["txId"], document["ts"]) == (fact.tx_id, fact.ts)
            assert document.keys() == {"_id", "blockNumber", "txIndex", "txId", "ts", "writes"}
        return page

    for blocks in (EVERYTHING, MIDDLE):
        await check_list(ledger, read, places(wrote, blocks), blocks)


async def test_the_namespaces_of_a_key(ledger: Ledger) -> None:
    for key, namespaces in (
        ("total", ["kindledger", "token"]),
        ("donation:77777", ["kindledger"]),
        ("absent", []),
        ("", ["kindledger"]),
    ):
        assert await ledger.reader.key_namespaces(key, LAST, 10) == namespaces
        await check_cost(ledger)
    assert len(await ledger.reader.key_namespaces("total", LAST, 1)) == 1


# --- sums -------------------------------------------------------------------------------------------------------------


def totals(blocks: Sequence[int]) -> BlockTotals:
    transactions = [fact for number in blocks for fact in scale.block_facts(number)]
    return BlockTotals(
        len(blocks),
        len(transactions),
        sum(fact.code == 0 for fact in transactions),
        sum(fact.event is not None for fact in transactions),
        sum(1_000 + number for number in blocks),
    )


def summed(first: int, last: int) -> LedgerTotals:
    transactions = [fact for number in range(first, last + 1) for fact in scale.block_facts(number)]
    chaincodes: dict[str | None, list[int]] = {}
    hours: dict[datetime | None, list[int]] = {}
    for fact in transactions:
        chaincodes.setdefault(fact.chaincode, []).append(fact.block)
    for number in range(first, last + 1):
        ts = scale.block_ts(number)
        hours.setdefault(ts.replace(minute=0, second=0) if ts is not None else None, []).append(
            number
        )
    return LedgerTotals(
        totals(range(first, last + 1)),
        Counter(status_name(fact.code) for fact in transactions),
        Counter(fact.type for fact in transactions),
        Counter(fact.creator_msp for fact in transactions),
        {
            name: ChaincodeTotals(len(blocks), min(blocks), max(blocks))
            for name, blocks in chaincodes.items()
        },
        {hour: totals(blocks) for hour, blocks in hours.items()},
    )


async def test_sums(ledger: Ledger) -> None:
    reader, middle = ledger.reader, BlockNumber(LAST // 2)
    whole = await reader.totals(0, LAST)
    assert whole == summed(0, LAST)
    assert (await reader.totals(0, middle)).plus(await reader.totals(middle + 1, LAST)) == whole
    assert await reader.totals(5, BlockNumber(4)) == LedgerTotals()
    ledger._queries.take()
    assert await reader.totals(100, BlockNumber(199)) == summed(100, 199)
    for plan in await ledger.plans():
        assert (plan.indexes, plan.documents) == ({"_id_"}, 100)


async def test_events_by_chaincode(ledger: Ledger) -> None:
    """Counted on the index alone, which is entered anew for each chaincode."""
    for first, last in (EVERYTHING, MIDDLE, (BlockNumber(LAST - 10), LAST)):
        events = [
            fact for fact in facts() if fact.event is not None and first <= fact.block <= last
        ]
        assert await ledger.reader.event_counts(first, last) == Counter(
            fact.chaincode for fact in events
        )
        (plan,) = await ledger.plans()
        assert plan.documents == 0
        assert plan.keys <= len(events) + 20


@pytest.mark.parametrize("unit", ["minute", "hour", "day"])
async def test_series(ledger: Ledger, unit: Any) -> None:
    since, until = BEGAN + timedelta(minutes=30), BEGAN + timedelta(minutes=100)
    lower: dict[str, Any] = {
        "minute": {"second": 0},
        "hour": {"minute": 0},
        "day": {"hour": 0, "minute": 0},
    }[unit]
    blocks: dict[datetime, list[int]] = {}
    for number in range(LAST - 2):
        ts = scale.block_ts(number)
        if ts is not None and since <= ts < until:
            blocks.setdefault(ts.replace(**lower), []).append(number)
    expected = [Bucket(start, totals(numbers)) for start, numbers in sorted(blocks.items())]
    assert await ledger.reader.totals_by_time(since, until, unit, BlockNumber(LAST - 3)) == expected
    (plan,) = await ledger.plans()
    assert plan.indexes == {"ts_1_number_1"}
    assert plan.documents == sum(map(len, blocks.values()))
