"""Runs the channels of one daemon side by side, and keeps their progress where the API finds it."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from msgspec import Struct
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from indexer.channel_indexer import ChannelIndexer
from indexer.channel_progress import ChannelProgress, ErrorSource
from indexer.reconciliation_state import ReconciliationState
from ledger.errors import LedgerError
from ledger.mongodb.sync_state import ChannelState, SyncState, write_sync_state
from runtime.cancellation import raise_if_cancelled
from runtime.tasks import unwrap_exception_group

log = structlog.get_logger()

_STATUS_INTERVAL_S = 1.0
_HEARTBEAT_S = 10.0
_STOP_GRACE_S = 10.0
_STATUS_TIMEOUT_S = 5.0


class DaemonChannel(Struct, frozen=True):
    """One channel of the daemon."""

    indexer: ChannelIndexer
    progress: ChannelProgress
    database: AsyncDatabase[Any]
    reconciliation: ReconciliationState | None = None
    companions: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()
    """What runs beside the indexers, and is cancelled when these have ended."""


class Daemon:
    """Runs every channel until it is stopped. One that must not go on stops alone; the others run on."""

    def __init__(self, members: Sequence[DaemonChannel], version: str) -> None:
        self._members, self._version = members, version
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Asks for an orderly end: what was taken becomes durable first, within seconds."""
        self._stop.set()
        for member in self._members:
            member.indexer.stop()

    async def run(self) -> None:
        """Runs until stopped. Raises the last `LedgerError` when no channel is left, and `GaveUpError` at once."""
        with unwrap_exception_group():
            async with asyncio.TaskGroup() as group:
                statuses = [group.create_task(self._publish(member)) for member in self._members]
                channels = [
                    group.create_task(self._run_channel(member)) for member in self._members
                ]
                stopping = group.create_task(self._limit_stop(channels))
                companions = [
                    group.create_task(companion())
                    for member in self._members
                    for companion in member.companions
                ]
                failures = await asyncio.gather(*channels)
                for task in (stopping, *companions, *statuses):
                    task.cancel()
        for member in self._members:
            await self._write_status(member)
        remaining = [failure for failure in failures if failure is not None]
        if len(remaining) == len(self._members) and remaining:
            raise remaining[-1]

    async def _run_channel(self, member: DaemonChannel) -> LedgerError | None:
        try:
            await member.indexer.run()
        except LedgerError as error:
            log.error(  # noqa: TRY400 - the message says it all, a trace would hide it
                "channel_failed", channel=member.progress.channel, error=str(error)
            )
            member.progress.failed(str(error), ChannelState.FAILED, ErrorSource.LEDGER)
            return error
        member.progress.set_state(ChannelState.STOPPED)
        return None

    async def _limit_stop(self, channels: Sequence[asyncio.Task[LedgerError | None]]) -> None:
        await self._stop.wait()
        await asyncio.sleep(_STOP_GRACE_S)
        log.warning("stop_forced", seconds=_STOP_GRACE_S)
        for channel in channels:
            channel.cancel()

    async def _publish(self, member: DaemonChannel) -> None:
        """Writes the progress at most once a second, and now and then when nothing changes."""
        while True:
            member.progress.changed.clear()
            await self._write_status(member)
            await asyncio.sleep(_STATUS_INTERVAL_S)
            try:
                async with asyncio.timeout(_HEARTBEAT_S):
                    await member.progress.changed.wait()
            except TimeoutError:
                continue

    async def _write_status(self, member: DaemonChannel) -> None:
        try:
            async with asyncio.timeout(_STATUS_TIMEOUT_S):
                await write_sync_state(
                    member.database, self._state_of(member.progress, member.reconciliation)
                )
        except (PyMongoError, TimeoutError) as error:
            log.debug("status_not_written", channel=member.progress.channel, error=str(error))
        raise_if_cancelled()

    def _state_of(
        self, progress: ChannelProgress, reconciliation: ReconciliationState | None
    ) -> SyncState:
        return SyncState(
            channel=progress.channel,
            state=progress.state,
            peer=progress.peer,
            start_block=progress.start_block,
            peer_height=progress.peer_height,
            seen_height=progress.seen_height,
            committed_height=progress.committed_height,
            transactions_per_second=round(progress.rate, 1),
            error=progress.error,
            started_at=progress.started_at,
            updated_at=datetime.now(UTC),
            version=self._version,
            reconciliation=reconciliation.snapshot() if reconciliation is not None else None,
        )
