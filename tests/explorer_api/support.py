"""Helpers of the tests of the API: forged blocks, their storage, and a client."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import aiohttp
from multidict import CIMultiDictProxy
from pymongo import AsyncMongoClient
from yarl import URL

from explorer_api.app import create_app, serve
from explorer_api.options import Options
from ledger import hashes
from ledger.decoding.blocks import decode_block, read_block
from ledger.documents.digests import NO_DIGEST
from ledger.documents.encoding import EncodedBlock, encode_block
from ledger.model import (
    VALID,
    Action,
    Block,
    Chaincode,
    ChaincodeEvent,
    ClaimedIds,
    Timestamp,
    Transaction,
)
from ledger.mongodb.indexes import IndexOptions
from ledger.mongodb.raw_block_archive import MongoArchive
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState, SyncState, write_sync_state
from ledger.ownership import decide_owners, ids_to_look_up
from tests.ledger.archives import compressed

CHANNEL = "kindledger"
C = f"/api/v1/channels/{CHANNEL}"
"""The path of the channel, to which tests append the path of a route below it."""
Json = dict[str, Any]
MOMENT = datetime.fromisoformat("2026-01-02T03:04:05.678Z")


@dataclass(frozen=True)
class Response:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Json:
        parsed: Json = json.loads(self.body)
        return parsed


class Api:
    """A client of one running API.

    It sends paths unchanged. Bodies are as they were sent: without compression, unless the test
    asks for it.
    """

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.session, self.base = session, base

    async def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        url = URL(self.base + path, encoded=True)
        async with self.session.request(method, url, headers=headers) as response:
            body = await response.read()
            return Response(response.status, response.headers, body)

    async def get(
        self, path: str, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Response:
        response = await self.request("GET", path, headers)
        assert response.status == status, response.body
        return response

    async def channel(self, path: str = "", status: int = 200, **parameters: Any) -> Json:
        """Return the JSON of a route below the channel."""
        query = "?" + urlencode(
            {name.replace("__", "."): value for name, value in parameters.items()}
        )
        response = await self.get(
            f"/api/v1/channels/{CHANNEL}{path}{query if parameters else ''}", status
        )
        return response.json

    async def problem(self, path: str, status: int, name: str, method: str = "GET") -> Response:
        """Return the response, checked to be a complete problem of that name."""
        response = await self.request(method, path)
        assert response.status == status, response.body
        assert response.headers["Content-Type"] == "application/problem+json"
        problem = response.json
        assert problem["type"].endswith(f":{name}"), problem
        assert problem["status"] == status
        assert problem["title"]
        assert problem["detail"]
        assert problem["hint"]
        assert problem["requestId"] == response.headers["X-Request-ID"]
        return response

    async def pages(self, path: str, **parameters: Any) -> list[list[Json]]:
        """Return the items of every page, from the first to the last."""
        pages = []
        cursor: Json = {}
        while True:
            page = await self.channel(path, **parameters, **cursor)
            pages.append(page["items"])
            if page["page"]["next"] is None:
                return pages
            assert len(pages) < 1000, "the paging does not end"
            cursor = {"cursor": page["page"]["next"]}

    async def items(self, path: str, **parameters: Any) -> list[Json]:
        return [item for page in await self.pages(path, **parameters) for item in page]


FRESH = Options(head_age_s=0.0, seconds_per_request=30.0)
"""Every request reads the head, so that it shows all blocks that a test has stored."""


@asynccontextmanager
async def running_api(
    client: AsyncMongoClient[Any],
    channels: Mapping[str, str] | None,
    options: Options = FRESH,
    **parts: Any,
) -> AsyncIterator[Api]:
    app = create_app(client, channels, version="1.2.3", options=options, **parts)
    runner, port = await serve(app, "127.0.0.1", 0)
    try:
        headers = {"Accept-Encoding": "identity"}
        async with aiohttp.ClientSession(headers=headers, auto_decompress=False) as session:
            yield Api(session, f"http://127.0.0.1:{port}")
    finally:
        await runner.cleanup()


def transaction(index: int, tx_id: str, code: int = VALID, **fields: Any) -> Transaction:
    """Return a transaction as the decoder returns it."""
    values: Json = {
        "envelope_hash": sha256(f"{index} {tx_id}".encode()).digest(),
        "envelope_size": 100,
        "type": 3,
        "channel_id": CHANNEL,
        "timestamp": Timestamp(1_750_000_000, 0),
        "creator": None,
        "chaincode_id": "token",
        "actions": (),
        "config": None,
        "lifecycle": None,
        "errors": (),
    }
    return Transaction(index=index, code=code, tx_id=tx_id, **(values | fields))


def with_event(index: int, tx_id: str, name: str, payload: bytes, code: int = VALID) -> Transaction:
    """Return a transaction with an event."""
    event = ChaincodeEvent("token", tx_id, name, payload)
    return transaction(index, tx_id, code, actions=(action(event=event),))


def action(**fields: Any) -> Action:
    values: Json = {
        "chaincode": Chaincode("token", "1.0"),
        "args": (),
        "is_init": False,
        "endorsers": (),
    }
    values |= {"response": None, "rwsets": (), "event": None}
    return Action(**(values | fields))


def block(number: int, transactions: Iterable[Transaction], previous_hash: bytes = b"") -> Block:
    """Return a block; its hash depends on its number and the previous hash."""
    transactions = tuple(transactions)
    return Block(
        number=number,
        hash=hashes.block_hash(number, previous_hash, b""),
        previous_hash=previous_hash,
        data_hash=b"",
        commit_hash=b"",
        codes=bytes(t.code for t in transactions),
        last_config=0,
        signers=(),
        size=sum(t.envelope_size for t in transactions),
        claims=tuple(ClaimedIds(t.tx_id, t.channel_id) for t in transactions),
        transactions=transactions,
    )


def decoded(block_bytes: bytes) -> Block:
    return decode_block(read_block(block_bytes))


async def encoded(store: LedgerStore, blocks: Sequence[Block]) -> list[EncodedBlock]:
    """Return the documents of the blocks; stored and earlier transactions own their ids."""
    owned: set[str] = set()
    checkpoint = await store.checkpoint()
    digest = checkpoint.head.digest if checkpoint is not None else NO_DIGEST
    result = []
    for item in blocks:
        owned |= await store.owned_ids(ids_to_look_up(item) - owned, item.number)
        owners = decide_owners(item, owned)
        owned |= {t.tx_id for t, owns in zip(item.transactions, owners, strict=True) if owns}
        result.append(encode_block(item, owners, digest))
        digest = result[-1].digest
    return result


async def append(
    client: AsyncMongoClient[Any],
    database: str,
    blocks: Sequence[Block],
    indexes: IndexOptions = IndexOptions(),  # noqa: B008 - frozen
) -> None:
    """Store the blocks as the indexer does."""
    store = LedgerStore(client, database)
    await store.prepare(indexes)
    await insert(store, blocks)


async def insert(store: LedgerStore, blocks: Sequence[Block]) -> None:
    """Store the blocks in a prepared store."""
    documents = await encoded(store, blocks)
    await store.insert_transactions(documents)
    await store.insert_events(documents)
    await store.insert_blocks(documents)


def append_now(
    uri: str, database: str, blocks: Sequence[Block], raw_blocks: Sequence[bytes] = ()
) -> None:
    """Do the same as `append` with a client and an event loop of its own, for longer fixtures.

    Keep the raw blocks in MongoDB.
    """

    async def run() -> None:
        async with AsyncMongoClient[Any](uri) as client:
            store = LedgerStore(client, database)
            await MongoArchive(store.database).append(compressed(raw_blocks))
            await append(client, database, blocks)

    asyncio.run(run())


def sync_state(channel: str = CHANNEL, **fields: Any) -> SyncState:
    """Return a progress report of the daemon."""
    values: dict[str, Any] = {
        "channel": channel,
        "state": ChannelState.CATCHING_UP,
        "peer": "peer0.example.com:7051",
        "start_block": 0,
        "peer_height": None,
        "seen_height": 0,
        "committed_height": 0,
        "transactions_per_second": 0.0,
        "error": None,
        "started_at": MOMENT,
        "updated_at": MOMENT,
        "version": "1.2.3",
    }
    return SyncState(**(values | fields))


async def report_state(client: AsyncMongoClient[Any], database: str, **fields: Any) -> None:
    """Report the progress of a channel now, as its daemon does."""
    state = sync_state(**{"updated_at": datetime.now(UTC), **fields})
    await write_sync_state(client[database], state)
