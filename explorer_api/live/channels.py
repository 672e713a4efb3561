"""The channels that the API shows, and what is kept in memory of each."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from explorer_api.http.problems import ProblemError
from explorer_api.live.head_notifications import hear_changes
from explorer_api.live.heads import HeadSnapshot, HeadWatch
from explorer_api.live.mongo_calls import MongoCalls
from explorer_api.live.redis_cache import RedisCache
from explorer_api.live.running_totals import RunningTotals
from ledger.mongodb.reader import LedgerReader
from ledger.mongodb.stored_channels import find_channels
from runtime.cancellation import raise_if_cancelled
from runtime.tasks import cancel_and_wait, restart_on_failure

DISCOVERY_SECONDS: Final = 2.0


class Channel:
    """One channel: its name, its database, its head, and the totals over its blocks."""

    def __init__(
        self,
        name: str,
        reader: LedgerReader,
        head_age_s: float,
        shared: RedisCache | None,
    ) -> None:
        self.name = name
        self.reader = reader
        self.watch = HeadWatch(reader, head_age_s)
        self.totals = RunningTotals(reader, self.watch, shared)

    async def snapshot(self) -> HeadSnapshot:
        """Where it stands. Raises `PyMongoError` where that must be read and cannot."""
        return await self.watch.fresh()


class Channels:
    """The channels that were configured, else those whose databases hold a `sync_state`.

    With `hears_changes` a change stream tells of new heads, where MongoDB has one.
    """

    def __init__(
        self,
        client: AsyncMongoClient[Any],
        database: MongoCalls,
        configured: Mapping[str, str] | None,
        head_age_s: float,
        *,
        hears_changes: bool,
        shared: RedisCache | None = None,
        background: Sequence[Callable[["Channel"], Awaitable[None]]] = (),
    ) -> None:
        self._client, self._database = client, database
        self._head_age_s, self._hears_changes = head_age_s, hears_changes
        self._shared, self._background = shared, background
        self._databases = dict(configured) if configured is not None else {}
        self._discovers = configured is None
        self._discovered_at: float | None = None
        self._lock = asyncio.Lock()
        self._channels: dict[tuple[str, str], Channel] = {}
        self._tasks: dict[Channel, list[asyncio.Task[None]]] = {}

    async def ping(self) -> None:
        """Raises `PyMongoError` where MongoDB does not answer."""
        await self._client.admin.command("ping")

    async def all(self) -> list[Channel]:
        """Every channel, by name."""
        await self._discover()
        return [self._channel(name) for name in sorted(self._databases)]

    async def find(self, name: str) -> Channel | None:
        """The channel of that name."""
        if name not in self._databases:
            await self._discover()
        return self._channel(name) if name in self._databases else None

    def loaded(self) -> list[Channel]:
        """The channels that were asked for so far, without a look."""
        return list(self._channels.values())

    def wake(self, database: str) -> None:
        """The channel of that database has a new head."""
        for (_, name), channel in self._channels.items():
            if name == database:
                channel.watch.wake()

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Keeps the heads of all channels fresh while the context lasts."""
        following = asyncio.create_task(restart_on_failure(self._follow))
        try:
            yield
        finally:
            await cancel_and_wait(
                [following, *(task for tasks in self._tasks.values() for task in tasks)]
            )

    async def _follow(self) -> None:
        while True:
            try:
                channels = await self.all()
            except (ProblemError, PyMongoError):
                channels = []
            raise_if_cancelled()
            for channel in channels:
                if channel not in self._tasks:
                    self._tasks[channel] = self._start(channel, self._databases[channel.name])
            for channel in self._tasks.keys() - set(self._channels.values()):
                for task in self._tasks.pop(channel):
                    task.cancel()
            await asyncio.sleep(DISCOVERY_SECONDS)

    def _start(self, channel: Channel, database: str) -> list[asyncio.Task[None]]:
        works: list[Callable[[], Awaitable[None]]] = [
            partial(channel.watch.follow, self._database.probe),
            channel.totals.follow,
            *(partial(work, channel) for work in self._background),
        ]
        if self._hears_changes:
            works.append(partial(hear_changes, self._client, database, channel.watch.wake))
        return [asyncio.create_task(restart_on_failure(work)) for work in works]

    def _channel(self, name: str) -> Channel:
        key = (name, self._databases[name])
        if key not in self._channels:
            reader = LedgerReader(self._client, key[1])
            self._channels[key] = Channel(name, reader, self._head_age_s, self._shared)
        return self._channels[key]

    async def _discover(self) -> None:
        if not self._discovers:
            return
        async with self._lock:
            if (
                self._discovered_at is not None
                and time.monotonic() - self._discovered_at < DISCOVERY_SECONDS
            ):
                return
            with self._database.probe():
                found = await find_channels(self._client)
            self._databases = found
            for key in self._channels.keys() - found.items():
                self._channels.pop(key).watch.forget()
            self._discovered_at = time.monotonic()
