"""Streams whose clients lose their connections: each message is delivered once, and in order."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo import AsyncMongoClient

from explorer_api.options import ChunkLimits, Options, ServiceLimits, StreamLimits
from ledger.model import VALID, Chaincode, ChaincodeEvent, Transaction
from ledger.mongodb.store import LedgerStore
from tests.eventually import LIMIT_S
from tests.explorer_api.streams import Chain, Message, Received, opened, order
from tests.explorer_api.support import CHANNEL, Api, Json, action, running_api, transaction

Spec = tuple[str, str | None, int, str]
Session = tuple[list[list[Spec]], dict[str, str], int]

_PAYLOADS = {
    "json": b'{"a":1.5}',
    "text": b"plain",
    "binary": b"\xff\0",
    "long": b"x" * 3000,
    "too long": b"x" * 70_000,
}
_SPECS = st.tuples(
    st.sampled_from(["token", "campaign"]),
    st.sampled_from([None, "Mint", "Burn"]),
    st.sampled_from([VALID, VALID, VALID, 11]),
    st.sampled_from(list(_PAYLOADS)),
)
_QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "types": st.lists(
            st.sampled_from(["block", "transaction", "event"]), min_size=1, unique=True
        ).map(",".join),
        "chaincode": st.sampled_from(["token", "campaign", "none"]),
        "event": st.sampled_from(["Mint", "Burn"]),
    },
)
_BLOCKS = st.lists(st.lists(_SPECS, min_size=1, max_size=5), max_size=4)
_SESSIONS = st.lists(st.tuples(_BLOCKS, _QUERIES, st.integers(0, 12_000)), min_size=1, max_size=4)


_VARIANTS = pytest.mark.parametrize(
    ("buffer_bytes", "chunks"),
    [
        (size, chunks)
        for size in (1, 10_000, 1 << 25)
        for chunks in (ChunkLimits(), ChunkLimits(max_bytes=1000, first_documents=1))
    ],
    ids=lambda value: f"{value}-bytes" if isinstance(value, int) else f"{value.max_bytes}-chunks",
)
"""Feeds of several sizes, which read in usual and in small chunks."""


@pytest.fixture
async def api(
    client: AsyncMongoClient[Any],
    store: LedgerStore,
    database_name: str,
    buffer_bytes: int,
    chunks: ChunkLimits,
) -> AsyncIterator[Api]:
    options = Options(head_age_s=0.0, seconds_per_request=30.0, stream_buffer_bytes=buffer_bytes)
    limits = ServiceLimits(streams=StreamLimits(ping_s=0.02, chunks=chunks))
    async with running_api(client, {CHANNEL: database_name}, options, limits=limits) as api:
        yield api


@_VARIANTS
@settings(max_examples=4, database=None)
@given(sessions=_SESSIONS)
async def test_each_message_comes_once_and_in_order_wherever_streams_are_cut(
    api: Api, store: LedgerStore, sessions: list[Session]
) -> None:
    await check_deliveries(api, store, sessions)


@pytest.mark.long
@pytest.mark.timeout(900)
@_VARIANTS
@settings(max_examples=70, derandomize=True, database=None)
@given(sessions=_SESSIONS)
async def test_each_message_comes_once_and_in_order_in_long_runs(
    api: Api, store: LedgerStore, sessions: list[Session]
) -> None:
    """The same test with more examples."""
    await check_deliveries(api, store, sessions)


async def check_deliveries(api: Api, store: LedgerStore, sessions: list[Session]) -> None:
    """Check what a client receives that disconnects and resumes the stream several times.

    It resumes the stream with its last id, and with other filters. Meanwhile the chain grows.
    Messages come from the feed, from MongoDB, and from one after the other.
    """
    chain = Chain(store, (await api.channel("/blocks", limit=1))["height"])
    first, last_id = chain.height, str(chain.height)
    deliveries: list[tuple[dict[str, str], str, Received]] = []

    async def session(query: dict[str, str], cut: int | None, until: int) -> str:
        received = await read_cut(api, last_id, query, cut, str(until))
        deliveries.append((query, last_id, received))
        assert received.last_id is not None
        return received.last_id

    for blocks, query, cut in sessions:
        numbered = enumerate(blocks, chain.height)
        new_blocks = [
            [make_transaction(i, f"{n}-{i}", spec) for i, spec in enumerate(specs)]
            for n, specs in numbered
        ]
        growing = asyncio.create_task(chain.grow(new_blocks)) if new_blocks else None
        last_id = await session(query, cut, chain.height + len(new_blocks))
        if growing is not None:
            await growing
    while last_id != str(chain.height):
        last_id = await session({}, None, chain.height)

    expected = await read_lists(api, first)
    for query, start, received in deliveries:
        assert received.last_id is not None
        between = [m for m in expected if order(start) < order(m.id) <= order(received.last_id)]
        assert received.ledger_messages == [m for m in between if selected(m, query)]


def make_transaction(index: int, tx_id: str, spec: Spec) -> Transaction:
    chaincode, name, code, payload = spec
    event = ChaincodeEvent(chaincode, tx_id, name, _PAYLOADS[payload]) if name is not None else None
    actions = (action(chaincode=Chaincode(chaincode, "1.0"), event=event),)
    return transaction(index, tx_id, code, chaincode_id=chaincode, actions=actions)


async def read_cut(
    api: Api, last_id: str, query: dict[str, str], cut: int | None, until: str
) -> Received:
    """Read until the id `until` is received, the stream ends, or `cut` bytes are read."""
    received = Received(last_id)
    left = cut if cut is not None else 1 << 30
    async with opened(api, last_id, query) as response, asyncio.timeout(LIMIT_S):
        while received.last_id != until and left > 0:
            data = (await response.content.readany())[:left]
            if not data:
                break
            left -= len(data)
            received.feed(data)
    return received


async def read_lists(api: Api, first: int) -> list[Message]:
    """Return the items of the lists, in blocks from `first` on, as messages of a stream.

    A message is sent once, so it cannot tell whether its block is agreed.
    """
    blocks = await api.items("/blocks", order="asc", number__ge=first)
    transactions = await api.items("/transactions", order="asc", block__ge=first)
    events = await api.items("/events", order="asc", block__ge=first)
    unknown = {"agreed": None}
    messages = [Message("block", str(row["number"] + 1), row | unknown) for row in blocks]
    messages += [
        Message("transaction", f"{row['block']}.{row['txIndex']}.t", row | unknown)
        for row in transactions
    ]
    messages += [
        Message("event", f"{row['block']}.{row['txIndex']}.e", shortened(row)) for row in events
    ]
    return sorted(messages, key=lambda message: order(message.id))


def shortened(row: Json) -> Json:
    payload = row["payload"]
    if not isinstance(payload, str) or len(payload) <= 1 << 16:
        return row
    omitted = {"sha256": sha256(payload.encode()).hexdigest(), "size": len(payload)}
    return row | {"payload": omitted, "encoding": "omitted"}


def selected(message: Message, query: dict[str, str]) -> bool:
    if message.name not in query.get("types", "block,transaction,event").split(","):
        return False
    if message.name != "block" and query.get("chaincode") not in (None, message.data["chaincode"]):
        return False
    return message.name != "event" or query.get("event") in (None, message.data["name"])
