"""The indexes of a database: when they are built, and values of any length in them."""

import asyncio
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent
from structlog.testing import capture_logs

from indexer.pipeline.channel_indexer import ChannelIndexer
from ledger.documents.encoding import encode_block
from ledger.documents.format import FORMAT
from ledger.model import ChaincodeEvent, ReadWriteSet, Write
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.event_queries import EventFilter
from ledger.mongodb.indexes import IndexOptions
from ledger.mongodb.paging import Window
from ledger.mongodb.reader import LedgerReader, OptionalIndexes
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.transaction_queries import TransactionFilter
from ledger.position import BlockNumber
from tests.explorer_api.support import action, block, transaction
from tests.indexer.support import CHANNEL, new_progress

Client = AsyncMongoClient[dict[str, Any]]
FIRST = Window(10, descending=False)
GENESIS = BlockNumber(0)
NONE = IndexOptions((), key_history=False)
A_MINUTE_MS = 60_000


class IndexCreations(CommandListener):
    """Records the time limit of each creation of indexes."""

    def __init__(self) -> None:
        self.limits_ms: list[int] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "createIndexes":
            self.limits_ms.append(event.command["maxTimeMS"])

    def succeeded(self, event: object) -> None:
        pass

    def failed(self, event: object) -> None:
        pass


async def test_configured_indexes_are_added_to_a_database(
    mongo: Client, mongo_uri: str, database_name: str
) -> None:
    """Documents that are stored already are indexed too, and this has a long time limit."""
    reader = LedgerReader(mongo, database_name)
    assert {name.split(".")[0] for name in await reader.missing_indexes()} == {
        BLOCKS,
        TRANSACTIONS,
        EVENTS,
    }
    await LedgerStore(mongo, database_name).prepare(NONE)
    assert await reader.missing_indexes() == []
    assert await reader.optional_indexes() == OptionalIndexes(frozenset(), key_history=False)

    events = [{"_id": n, "eventName": "Mint", "payload": {"donor": {"id": n}}} for n in range(100)]
    await mongo[database_name][EVENTS].insert_many(events)
    creations = IndexCreations()
    async with AsyncMongoClient[dict[str, Any]](
        mongo_uri, socketTimeoutMS=5_000, event_listeners=[creations]
    ) as client:
        store = LedgerStore(client, database_name)
        for _ in range(2):
            await store.prepare(IndexOptions(("donor.id", "a")))
    assert len(creations.limits_ms) == 2
    assert min(creations.limits_ms) > 60 * A_MINUTE_MS
    assert await reader.optional_indexes() == OptionalIndexes(
        frozenset({"donor.id", "a"}), key_history=True
    )
    page = await reader.matching_events(
        EventFilter(payload=("donor.id", "77")), 0, BlockNumber(1), FIRST
    )
    assert [event["_id"] for event in page.documents] == [77]


async def test_the_daemon_logs_that_it_builds_indexes(mongo: Client, database_name: str) -> None:
    stored_block = {
        "_id": 0,
        "blockHash": "",
        "validationCodes": b"",
        "commitHash": None,
        "transactionCount": 0,
        "eventCount": 0,
        "format": FORMAT,
    }
    await mongo[database_name][BLOCKS].insert_one(stored_block)
    store = LedgerStore(mongo, database_name)
    await store.prepare(NONE)
    with capture_logs() as logs:
        await ChannelIndexer(
            store, [], new_progress(), indexes=IndexOptions(("a",), key_history=False)
        ).run()
    building = next(entry for entry in logs if entry["event"] == "indexes_building")
    assert building["channel"] == CHANNEL
    assert building["indexes"] == [
        f"{EVENTS}.payload.a_1__id_1",
        f"{EVENTS}.payload.a_1_eventName_1__id_1",
    ]
    built = next(entry for entry in logs if entry["event"] == "indexes_built")
    assert (built["channel"], built["indexes"]) == (CHANNEL, 2)


async def test_values_of_any_length_are_indexed_and_found(
    mongo: Client, store: LedgerStore
) -> None:
    """Values that were too long to be stored are found as well."""
    huge, large, long = "h" * (10 << 20), "k" * (6 << 20), "l" * 2_000
    filling = (b"x" * 1_999,) * 8_500

    def writing(key: str) -> tuple[ReadWriteSet, ...]:
        return (ReadWriteSet("token", (), (Write(key, b"1", is_delete=False),), (), (), ()),)

    def event(name: str) -> ChaincodeEvent:
        return ChaincodeEvent("token", "", name, b'{"campaignId": "' + long.encode() + b'"}')

    transactions = [
        transaction(0, "a", actions=(action(args=(huge.encode(),), event=event(huge)),)),
        transaction(
            1, "b", actions=(action(args=(b"Put",), rwsets=writing(large), event=event(long)),)
        ),
        transaction(
            2, "c", actions=(action(args=(long.encode(), *filling), rwsets=writing(long)),)
        ),
    ]
    encoded = [encode_block(block(0, transactions), [True] * 3)]
    await store.insert_transactions(encoded)
    await store.insert_events(encoded)
    omitted = (await mongo[store.database.name][TRANSACTIONS].find_one({"txId": "c"}) or {})[
        "function"
    ]
    assert omitted["omitted"]

    reader = LedgerReader(mongo, store.database.name)
    pages = (
        (reader.transactions(TransactionFilter("token", huge), 0, GENESIS, FIRST), [0]),
        (reader.transactions(TransactionFilter("token", long), 0, GENESIS, FIRST), [2]),
        (reader.key_history("token", large, 0, GENESIS, FIRST), [1]),
        (reader.key_history("token", long, 0, GENESIS, FIRST), [2]),
        (reader.matching_events(EventFilter(names=(huge,)), 0, GENESIS, FIRST), [0]),
        (reader.matching_events(EventFilter(names=(long,)), 0, GENESIS, FIRST), [1]),
        (
            reader.matching_events(
                EventFilter(payload=("campaignId", long)), 0, GENESIS, Window(10, descending=True)
            ),
            [1, 0],
        ),
    )
    for page, expected in pages:
        assert [document["_id"] for document in (await page).documents] == expected
    assert await reader.key_namespaces(long, GENESIS, 5) == ["token"]


async def test_a_transaction_with_very_many_writes_is_in_the_history_of_its_keys(
    store: LedgerStore,
) -> None:
    """All entries of its writes together would not fit in a small cache of MongoDB.

    MongoDB would then wait forever.
    """
    writes = tuple(Write(f"key{n}", b"", is_delete=False) for n in range(120_000))
    many = action(rwsets=(ReadWriteSet("token", (), writes, (), (), ()),))
    few = action(rwsets=(ReadWriteSet("token", (), writes[7:8], (), (), ()),))
    blocks = [
        block(n, [transaction(0, str(n), actions=(many if n == 1 else few,))]) for n in range(3)
    ]
    encoded = [encode_block(item, [True]) for item in blocks]
    async with asyncio.timeout(30):
        await store.insert_transactions(encoded)
    reader = LedgerReader(store.database.client, store.database.name)
    for descending in (False, True):
        numbers, after = [], None
        for _ in range(3):
            page = await reader.key_history(
                "token", "key7", 0, BlockNumber(2), Window(1, descending=descending, after=after)
            )
            after = page.documents[0]["_id"]
            numbers.append(page.documents[0]["blockNumber"])
        assert numbers == sorted([0, 1, 2], reverse=descending)
    assert await reader.key_namespaces("key119999", BlockNumber(2), 5) == ["token"]
