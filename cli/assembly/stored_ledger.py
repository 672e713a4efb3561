"""The progress of a stored ledger, for commands that run without the daemon."""

from datetime import UTC, datetime

from cli.assembly.channel import new_progress
from cli.errors import ConfigurationError
from cli.output.console import messages
from indexer.progress.channel_progress import ChannelProgress
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState, SyncState, read_sync_state
from ledger.position import Height, height_above

_MAX_REPORT_AGE_S = 30.0
"""A running daemon reports its progress more often than this."""


async def stored_ledger(store: LedgerStore, channel: str) -> ChannelProgress:
    """Return the progress of the ledger as it is stored now.

    The ledger has caught up with its peer only if a daemon reported this a few seconds ago.
    """
    progress = new_progress(channel)
    checkpoint = await store.checkpoint()
    if checkpoint is not None:
        progress.resume(checkpoint.start, height_above(checkpoint.head.number))
    report = await read_sync_state(store.database)
    peer_height = followed_height(report)
    if peer_height is not None:
        progress.record_peer_height(peer_height)
        progress.set_state(ChannelState.FOLLOWING)
    return progress


def followed_height(report: SyncState | None) -> Height | None:
    """Return the height of the peer that a daemon follows; None if none reported it just now."""
    if (
        report is not None
        and report.peer_height is not None
        and report.state is ChannelState.FOLLOWING
        and (datetime.now(UTC) - report.updated_at).total_seconds() < _MAX_REPORT_AGE_S
    ):
        return Height(report.peer_height)
    return None


def is_in_step(report: SyncState | None, stored_height: Height) -> bool:
    """Return whether a daemon reported just now a peer that has no higher block than the store."""
    height = followed_height(report)
    return height is not None and height <= stored_height


async def agreed_ledger(
    store: LedgerStore, stored: ChannelProgress, required: int
) -> ChannelProgress:
    """Return the part of the stored ledger that is agreed, as the daemon reported it.

    Raises `ConfigurationError` if no block is agreed although several peers are required.
    """
    report = await read_sync_state(store.database)
    height = agreed_height(report, stored.committed_height, required)
    if height == stored.committed_height:
        return stored
    if height == 0:
        raise ConfigurationError(
            f"{stored.channel}: {required} peers must give a block before rows are settled, and no "
            "block is agreed yet: `kindledger run` compares the peers"
        )
    agreed = new_progress(stored.channel)
    agreed.resume(stored.start_block, height)
    messages.print(
        f"the peers agree only on the blocks below {height}: rows of later blocks are not settled",
        highlight=False,
        soft_wrap=True,
    )
    return agreed


def agreed_height(report: SyncState | None, stored_height: Height, required: int) -> Height:
    """Return the height below which `required` organisations gave every block, as was reported."""
    if report is not None and report.peers_required >= required:
        return Height(report.agreed_below(stored_height))
    return stored_height if required == 1 else Height(0)
