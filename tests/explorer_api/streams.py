"""A client of live streams, and a chain that grows while they are open."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlencode

import aiohttp

from ledger.model import Transaction
from ledger.mongodb.store import LedgerStore
from tests.eventually import LIMIT_S
from tests.explorer_api.support import Api, C, Json, block, encoded, with_event

STREAM = f"{C}/stream"


@dataclass(frozen=True)
class Message:
    name: str
    id: str
    data: Json


class Received:
    """The messages of a stream, parsed as the HTML standard says: an empty line ends a message."""

    def __init__(self, last_id: str | None = None) -> None:
        self.messages: list[Message] = []
        self.last_id = last_id
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        for text in blocks:
            fields = dict(
                line.split(": ", 1)
                for line in text.decode().split("\n")
                if not line.startswith(":")
            )
            self.last_id = fields.get("id", self.last_id)
            if "data" in fields:
                assert self.last_id is not None
                self.messages.append(
                    Message(fields["event"], self.last_id, json.loads(fields["data"]))
                )

    @property
    def ledger_messages(self) -> list[Message]:
        """The messages about the ledger, without those about the stream itself."""
        return [message for message in self.messages if message.name not in ("state", "lagged")]

    @property
    def ids(self) -> list[str]:
        return [message.id for message in self.ledger_messages]


@asynccontextmanager
async def opened(
    api: Api, last_id: str | None = None, query: Mapping[str, str] | None = None
) -> AsyncIterator[aiohttp.ClientResponse]:
    headers = {"Last-Event-ID": last_id} if last_id is not None else {}
    async with api.session.get(
        f"{api.base}{STREAM}?{urlencode(query or {})}", headers=headers
    ) as response:
        assert response.status == 200, await response.read()
        yield response


async def receive(response: aiohttp.ClientResponse, received: Received, until: str | None) -> None:
    """Read until the id `until` is received, or to the end of the stream if that is None."""
    async with asyncio.timeout(LIMIT_S):
        while until is None or received.last_id != until:
            data = await response.content.readany()
            if not data:
                assert until is None, f"the stream ended at {received.last_id}"
                return
            received.feed(data)


async def read(
    api: Api, last_id: str | None, until: str, query: Mapping[str, str] | None = None
) -> Received:
    """Return the messages of a stream from one position to another."""
    async with opened(api, last_id, query) as response:
        received = Received()
        await receive(response, received, until)
        return received


class Chain:
    """A stored chain to which a test appends blocks."""

    def __init__(self, store: LedgerStore, height: int = 0) -> None:
        self._store, self.height = store, height

    async def grow(self, blocks: Sequence[Sequence[Transaction]]) -> None:
        documents = await encoded(
            self._store, [block(n, each) for n, each in enumerate(blocks, self.height)]
        )
        await self._store.insert_transactions(documents)
        await self._store.insert_events(documents)
        await self._store.insert_blocks(documents)
        self.height += len(blocks)

    async def mint(self, blocks: int = 1, transactions: int = 1, payload: bytes = b"{}") -> None:
        """Append blocks whose transactions have an event each."""
        numbers = range(self.height, self.height + blocks)
        await self.grow(
            [
                [with_event(i, f"{n}-{i}", "Mint", payload) for i in range(transactions)]
                for n in numbers
            ]
        )


def everything(blocks: Iterable[int], transactions: int = 1) -> list[str]:
    """Return the ids of all messages about blocks whose transactions have an event each."""
    return [
        id_
        for number in blocks
        for id_ in (
            *(f"{number}.{i}.{kind}" for i in range(transactions) for kind in "te"),
            str(number + 1),
        )
    ]


def order(id_: str) -> tuple[int, ...]:
    """Return a key that sorts ids in the order of the stream."""
    number, *rest = id_.split(".")
    return (int(number), int(rest[0]), "te".index(rest[1])) if rest else (int(number), -1)
