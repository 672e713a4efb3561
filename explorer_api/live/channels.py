"""The channels that the API shows, and the state of each channel in memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from explorer_api.http.problems import ProblemError
from explorer_api.live.head_notifications import follow_change_stream
from explorer_api.live.heads import HeadWatch
from explorer_api.live.mongo_calls import MongoCalls
from explorer_api.live.redis_cache import RedisCache
from explorer_api.live.running_totals import RunningTotals
from explorer_api.options import ServiceLimits
from ledger.archive.folder_archive import FolderRawBlocks
from ledger.mongodb.reader import LedgerReader
from ledger.mongodb.stored_channels import find_channels
from ledger.raw_blocks import RawBlocks
from runtime.cancellation import raise_if_cancelled
from runtime.tasks import cancel_and_wait, restart_on_failure


class Channel:
    """One channel: its name, the reader of its database, its head, and the totals of its blocks."""

    def __init__(
        self,
        name: str,
        reader: LedgerReader,
        head_age_s: float,
        redis_cache: RedisCache | None,
        raw_blocks: RawBlocks,
    ) -> None:
        self.name = name
        self.reader, self.raw_blocks = reader, raw_blocks
        self.watch = HeadWatch(reader, head_age_s)
        self.totals = RunningTotals(reader, self.watch, redis_cache)


ChannelJob = Callable[[Channel], Awaitable[None]]
"""A background job for one channel; it runs until it is cancelled."""


class Channels:
    """The configured channels; without configuration, all channels that MongoDB holds.

    `databases` names the database of each configured channel. Each channel has background tasks:
    they keep its head and its totals up to date, follow the change stream of its database if
    `follows_changes`, and run the `background` jobs. Raw blocks are read from the folder of the
    channel's database in `archive_folder`, or without it from MongoDB.
    """

    def __init__(
        self,
        client: AsyncMongoClient[Any],
        mongo_calls: MongoCalls,
        databases: Mapping[str, str] | None,
        head_age_s: float,
        *,
        follows_changes: bool = False,
        redis_cache: RedisCache | None = None,
        background: Sequence[ChannelJob] = (),
        archive_folder: Path | None = None,
        limits: ServiceLimits = ServiceLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._client, self._mongo_calls = client, mongo_calls
        self._head_age_s, self._limits = head_age_s, limits
        self._follows_changes, self._redis_cache = follows_changes, redis_cache
        self._background, self._archive_folder = background, archive_folder
        self._databases = dict(databases) if databases is not None else {}
        self._discovers = databases is None
        self._discovered_at: float | None = None
        self._lock = asyncio.Lock()
        self._channels: dict[tuple[str, str], Channel] = {}
        self._tasks: dict[Channel, list[asyncio.Task[None]]] = {}

    async def ping(self) -> None:
        """Raise `PyMongoError` if MongoDB does not answer."""
        await self._client.admin.command("ping")

    async def all(self) -> list[Channel]:
        """Return every channel, ordered by name."""
        await self._discover()
        return [self._load(name) for name in sorted(self._databases)]

    async def find(self, name: str) -> Channel | None:
        """Return the channel of that name, if there is one."""
        if name not in self._databases:
            await self._discover()
        return self._load(name) if name in self._databases else None

    def loaded(self) -> list[Channel]:
        """Return the channels in memory, without a search for new ones."""
        return list(self._channels.values())

    def wake(self, database: str) -> None:
        """Read the head of the channel in that database soon."""
        for (_, name), channel in self._channels.items():
            if name == database:
                channel.watch.wake()

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Run the background tasks of all channels while the context lasts."""
        following = asyncio.create_task(restart_on_failure(self._follow))
        try:
            yield
        finally:
            channel_tasks = [task for tasks in self._tasks.values() for task in tasks]
            await cancel_and_wait([following, *channel_tasks])

    async def _follow(self) -> None:
        """Start and stop the background tasks as channels come and go."""
        while True:
            try:
                channels = await self.all()
            except (ProblemError, PyMongoError):
                channels = []
            raise_if_cancelled()
            for channel in channels:
                if channel not in self._tasks:
                    self._tasks[channel] = self._start_tasks(channel, self._databases[channel.name])
            for channel in self._tasks.keys() - set(self._channels.values()):
                for task in self._tasks.pop(channel):
                    task.cancel()
            await asyncio.sleep(self._limits.discovery_s)

    def _start_tasks(self, channel: Channel, database: str) -> list[asyncio.Task[None]]:
        jobs: list[Callable[[], Awaitable[None]]] = [
            partial(channel.watch.follow, self._mongo_calls.probe),
            channel.totals.follow,
            *(partial(job, channel) for job in self._background),
        ]
        if self._follows_changes:
            wake, limits = channel.watch.wake, self._limits
            jobs.append(partial(follow_change_stream, self._client, database, wake, limits))
        return [asyncio.create_task(restart_on_failure(job)) for job in jobs]

    def _load(self, name: str) -> Channel:
        key = (name, self._databases[name])
        if key not in self._channels:
            reader = LedgerReader(self._client, key[1])
            raw_blocks: RawBlocks = reader.raw_blocks()
            if self._archive_folder is not None:
                raw_blocks = FolderRawBlocks(self._archive_folder / key[1], name)
            self._channels[key] = Channel(
                name, reader, self._head_age_s, self._redis_cache, raw_blocks
            )
        return self._channels[key]

    async def _discover(self) -> None:
        """Search MongoDB for channels, unless they are configured or were searched recently."""
        if not self._discovers:
            return
        async with self._lock:
            now = time.monotonic()
            earliest = now - self._limits.discovery_s
            if self._discovered_at is not None and self._discovered_at > earliest:
                return
            with self._mongo_calls.probe():
                databases = await find_channels(self._client, skip_unreadable=True)
            self._databases = databases
            for key in self._channels.keys() - databases.items():
                self._channels.pop(key).watch.forget()
            self._discovered_at = time.monotonic()
