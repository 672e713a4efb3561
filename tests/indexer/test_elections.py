"""An election between the writes of a batch: the majority has all documents before the commit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import structs
from pymongo import AsyncMongoClient
from pymongo.errors import AutoReconnect
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from devnet.servers import Mongod
from ledger.documents.encoding import EncodedBlock
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.store import LedgerStore, Primaries
from tests.eventually import eventually
from tests.indexer.support import SMALL, ScriptedSource, hostile_chain, index

CHAIN = hostile_chain(blocks=12)
ONE_BY_ONE = structs.replace(SMALL, parallel_batches=1)


class Insertions(CommandListener):
    """The insertions of a client: the collection, and whether they wait for the majority."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bool]] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "insert":
            waits = event.command["writeConcern"]["w"] == "majority"
            self.sent.append((event.command["insert"], waits))

    def succeeded(self, event: CommandSucceededEvent) -> None:
        pass

    def failed(self, event: CommandFailedEvent) -> None:
        pass


class ElectionBeforeEvents(LedgerStore):
    """A store whose server steps down and is elected again after the first transactions."""

    elections = 0

    async def insert_events(self, blocks: Sequence[EncodedBlock]) -> Primaries:
        if self.elections == 0 and any(block.events for block in blocks):
            self.elections += 1
            admin = self.database.client.admin
            await admin.command("replSetStepDown", 1, force=True)
            await eventually(self._is_primary, bool)
        return await super().insert_events(blocks)

    async def _is_primary(self) -> bool:
        try:
            return bool((await self.database.client.admin.command("hello"))["isWritablePrimary"])
        except AutoReconnect:
            return False


async def test_transactions_are_inserted_again_after_an_election(tmp_path: Path) -> None:
    """Otherwise the election could have lost them, though the majority has the events."""
    with Mongod(tmp_path) as mongod:
        insertions = Insertions()
        async with AsyncMongoClient[Any](mongod.uri, event_listeners=[insertions]) as client:
            store = ElectionBeforeEvents(client, "elections")
            await index(store, ScriptedSource(CHAIN), ONE_BY_ONE)
            assert store.elections == 1
            assert await store.database[BLOCKS].count_documents({}) == len(CHAIN)
    events = insertions.sent.index((EVENTS, True))
    commit = insertions.sent.index((BLOCKS, True), events)
    assert (TRANSACTIONS, False) in insertions.sent[:events]
    assert insertions.sent[events + 1 : commit] == [(TRANSACTIONS, True)]


async def test_one_batch_waits_once_for_its_transactions_and_events(tmp_path: Path) -> None:
    with Mongod(tmp_path) as mongod:
        insertions = Insertions()
        async with AsyncMongoClient[Any](mongod.uri, event_listeners=[insertions]) as client:
            await index(LedgerStore(client, "elections"), ScriptedSource(CHAIN))
    assert (TRANSACTIONS, False) in insertions.sent
    assert all(waits for name, waits in insertions.sent if name != TRANSACTIONS)
