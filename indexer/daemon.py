"""Runs the channels of one daemon concurrently, and stores their status for the API."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError

from indexer.agreement.peer_comparisons import PeerComparisons
from indexer.monitoring.reconciliation_state import ReconciliationState
from indexer.monitoring.time_shares import stage_times, time_shares
from indexer.pipeline.channel_indexer import ChannelIndexer
from indexer.progress.channel_progress import ChannelProgress, ErrorSource
from ledger.errors import ChainMismatchError, LedgerError
from ledger.mongodb.sync_state import ChannelState, SyncState, write_sync_state
from runtime.cancellation import raise_if_cancelled
from runtime.tasks import unwrap_exception_group

log = structlog.get_logger()

_STATUS_INTERVAL_S: Final = 1.0
_HEARTBEAT_S: Final = 10.0
_STATUS_TIMEOUT_S: Final = 5.0
_CATCH_UP_LOG_INTERVAL_S: Final = 10.0
_STOP_GRACE_S: Final = 10.0


@dataclass(frozen=True)
class DaemonChannel:
    """A channel of the daemon: its indexer, and the parts that belong to the indexer."""

    indexer: ChannelIndexer
    progress: ChannelProgress
    database: AsyncDatabase[Any]
    reconciliation: ReconciliationState | None = None
    background_tasks: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()
    """Tasks that run beside the indexers, and are cancelled when all indexers have ended."""
    comparisons: PeerComparisons | None = None
    """The comparisons of the stored blocks with all configured peers."""


class Daemon:
    """Runs every channel until it is stopped. A channel that fails does not stop the others."""

    def __init__(self, channels: Sequence[DaemonChannel], version: str) -> None:
        self._channels, self._version = channels, version
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Make `run` return within seconds; blocks that were delivered are stored first."""
        self._stop.set()
        for channel in self._channels:
            channel.indexer.stop()

    async def run(self) -> None:
        """Run all channels until stopped, or until the last one ends.

        Raises the last `LedgerError` when every channel has failed, and `GaveUpError` at once.
        """
        with unwrap_exception_group():
            async with asyncio.TaskGroup() as group:
                indexers = [
                    group.create_task(self._run_indexer(channel)) for channel in self._channels
                ]
                others = [
                    group.create_task(self._force_stop(indexers)),
                    *(group.create_task(self._keep_status(each)) for each in self._channels),
                    *(group.create_task(_log_catch_up(each.progress)) for each in self._channels),
                    *(
                        group.create_task(background_task())
                        for channel in self._channels
                        for background_task in channel.background_tasks
                    ),
                ]
                outcomes = await asyncio.gather(*indexers)
                for task in others:
                    task.cancel()
        for channel in self._channels:
            await self._write_status(channel)
        errors = [error for error in outcomes if error is not None]
        if errors and len(errors) == len(self._channels):
            raise errors[-1]

    async def _run_indexer(self, channel: DaemonChannel) -> LedgerError | None:
        """Run the channel's indexer to its end. Return the error with which it failed."""
        try:
            await _index_and_compare(channel)
        except LedgerError as error:
            log.error(  # noqa: TRY400 - the message is complete, a traceback would bury it
                "channel_failed", channel=channel.progress.channel, error=str(error)
            )
            channel.progress.record_error(str(error), ChannelState.FAILED, ErrorSource.LEDGER)
            return error
        channel.progress.set_state(ChannelState.STOPPED)
        return None

    async def _force_stop(self, indexers: Sequence[asyncio.Task[LedgerError | None]]) -> None:
        """Cancel the indexers if they still run a while after the daemon was told to stop."""
        await self._stop.wait()
        await asyncio.sleep(_STOP_GRACE_S)
        log.warning("stop_forced", seconds=_STOP_GRACE_S)
        for indexer in indexers:
            indexer.cancel()

    async def _keep_status(self, channel: DaemonChannel) -> None:
        """Write the channel's status after changes, at most once a second, and as a heartbeat."""
        while True:
            channel.progress.changed.clear()
            await self._write_status(channel)
            await asyncio.sleep(_STATUS_INTERVAL_S)
            try:
                async with asyncio.timeout(_HEARTBEAT_S):
                    await channel.progress.changed.wait()
            except TimeoutError:
                continue

    async def _write_status(self, channel: DaemonChannel) -> None:
        try:
            async with asyncio.timeout(_STATUS_TIMEOUT_S):
                await write_sync_state(channel.database, self._status_of(channel))
        except (PyMongoError, TimeoutError) as error:
            log.debug("status_not_written", channel=channel.progress.channel, error=str(error))
        raise_if_cancelled()

    def _status_of(self, channel: DaemonChannel) -> SyncState:
        progress, reconciliation = channel.progress, channel.reconciliation
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
            encoder=progress.encoder,
            reconciliation=reconciliation.snapshot() if reconciliation is not None else None,
            index_build=progress.index_build,
            scrub=progress.scrub,
            archive=progress.archive,
            verifies_envelopes=progress.envelopes is not None,
            verified_height=progress.envelopes.height if progress.envelopes else None,
            envelopes=progress.envelopes.report() if progress.envelopes else None,
            verification_error=progress.envelopes.error if progress.envelopes else None,
            agreed_height=progress.agreed_height if progress.agreement.resumed else None,
            peers_required=progress.agreement.required,
            disputed_at=progress.agreement.disputed_at(progress.committed_height),
            peers=channel.comparisons.reports() if channel.comparisons is not None else None,
        )


async def _index_and_compare(channel: DaemonChannel) -> None:
    """Run the indexer to its end, beside the comparisons; each stops the other by its error.

    If a peer has another chain than the stored one, the error names the first block that differs,
    and the peers that gave it.
    """
    comparisons = channel.comparisons
    if comparisons is None:
        await channel.indexer.run()
        return
    try:
        with unwrap_exception_group():
            async with asyncio.TaskGroup() as group:
                comparing = group.create_task(comparisons.run())
                await channel.indexer.run()
                comparing.cancel()
    except ChainMismatchError as error:
        last_stored = channel.progress.committed_height - 1
        located = await comparisons.locate(min(error.block, last_stored))
        raise located or error from error


async def _log_catch_up(progress: ChannelProgress) -> None:
    """Log at intervals how far the channel is behind its peer, and what limits the rate."""
    while True:
        before = stage_times(progress, time.monotonic())
        await asyncio.sleep(_CATCH_UP_LOG_INTERVAL_S)
        if progress.state is not ChannelState.CATCHING_UP or progress.peer_height is None:
            continue
        time_left_s = progress.time_left_s
        log.info(
            "catching_up",
            channel=progress.channel,
            height=progress.committed_height,
            peer_height=progress.peer_height,
            transactions_per_second=round(progress.rate),
            seconds_left=round(time_left_s) if time_left_s is not None else None,
            limited_by=time_shares(before, stage_times(progress, time.monotonic())).limit,
        )
