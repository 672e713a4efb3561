"""The channels that the API shows, and where each stands."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from explorer_api.totals import RunningTotals
from ledger.documents import Document
from ledger.reader import LedgerReader
from ledger.store import RESERVED_DATABASES, database_name
from ledger.sync_state import SyncState

DISCOVERY_SECONDS: Final = 2.0
_UNAUTHORIZED = 13


class Standing(Struct, frozen=True):
    """Where a channel stands at the moment of a request: the head is the highest block that may be shown."""

    head: Document | None
    sync: SyncState | None

    @property
    def height(self) -> int:
        """The number of blocks from 0 on: the head's number plus one."""
        return int(self.head["number"]) + 1 if self.head is not None else 0

    @property
    def peer_height(self) -> int | None:
        """The highest height that a peer is known to have, at least our own; None if no peer was asked yet."""
        if self.sync is None or self.sync.peer_height is None:
            return None
        return max(self.sync.peer_height, self.height)

    @property
    def lag_blocks(self) -> int | None:
        """Blocks that the peer has and the store has not."""
        return self.peer_height - self.height if self.peer_height is not None else None

    @property
    def headers(self) -> dict[str, str]:
        """Tell how fresh an answer is. What is stored a peer had: without other news that is the peer's height."""
        peer_height = self.peer_height if self.peer_height is not None else self.height
        return {"Ledger-Height": str(self.height), "Ledger-Peer-Height": str(peer_height)}


class Channel:
    """One channel: its name, its database, and the sums over its blocks."""

    def __init__(self, name: str, reader: LedgerReader) -> None:
        self.name = name
        self.reader = reader
        self.totals = RunningTotals(reader)

    async def standing(self) -> Standing:
        """Read anew for every request, so that a block is seen as soon as it is committed."""
        sync = await self.reader.sync_state()
        return Standing(await self.reader.head(), sync)


class Channels:
    """The channels that were configured, else those whose databases hold a `sync_state`.

    Without a configuration the databases are asked again when a request comes, at most every `DISCOVERY_SECONDS`.
    """

    def __init__(self, client: AsyncMongoClient[Any], configured: Mapping[str, str] | None) -> None:
        self._client = client
        self._databases = dict(configured) if configured is not None else {}
        self._discovers = configured is None
        self._discovered_at: float | None = None
        self._lock = asyncio.Lock()
        self._channels: dict[tuple[str, str], Channel] = {}

    async def ping(self) -> None:
        """Raises `PyMongoError` where MongoDB does not answer."""
        await self._client.admin.command("ping")

    async def all(self) -> list[Channel]:
        """Every channel, by name."""
        if self._discovers:
            await self._discover()
        return [self._channel(name) for name in sorted(self._databases)]

    async def find(self, name: str) -> Channel | None:
        """The channel of that name."""
        if self._discovers:
            await self._discover()
        return self._channel(name) if name in self._databases else None

    def _channel(self, name: str) -> Channel:
        database = self._databases[name]
        if (name, database) not in self._channels:
            self._channels[name, database] = Channel(name, LedgerReader(self._client, database))
        return self._channels[name, database]

    async def _discover(self) -> None:
        async with self._lock:
            if self._discovered_at is not None and time.monotonic() - self._discovered_at < DISCOVERY_SECONDS:
                return
            found: dict[str, str] = {}
            for database in sorted(await self._client.list_database_names()):
                name = await self._channel_in(database) if database not in RESERVED_DATABASES else None
                if name is not None and (name not in found or database == database_name(name)):
                    found[name] = database
            self._databases = found
            self._channels = {key: channel for key, channel in self._channels.items() if key in found.items()}
            self._discovered_at = time.monotonic()

    async def _channel_in(self, database: str) -> str | None:
        """The channel that the database holds; None if it is another application's, or closed to us."""
        try:
            sync = await LedgerReader(self._client, database).sync_state()
        except msgspec.ValidationError:
            return None
        except OperationFailure as error:
            if error.code == _UNAUTHORIZED:
                return None
            raise
        return sync.channel if sync is not None else None
