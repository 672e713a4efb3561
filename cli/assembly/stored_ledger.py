"""The progress of a stored ledger, for commands that run without the daemon."""

from datetime import UTC, datetime

from cli.assembly.channel import new_progress
from cli.errors import ConfigurationError
from cli.output.console import messages
from indexer.progress.channel_progress import ChannelProgress
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState, read_sync_state
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
    if (
        report is not None
        and report.peer_height is not None
        and report.state is ChannelState.FOLLOWING
        and (datetime.now(UTC) - report.updated_at).total_seconds() < _MAX_REPORT_AGE_S
    ):
        progress.record_peer_height(Height(report.peer_height))
        progress.set_state(ChannelState.FOLLOWING)
    return progress


async def agreed_ledger(
    store: LedgerStore, stored: ChannelProgress, required: int
) -> ChannelProgress:
    """Return the part of the stored ledger that is agreed, as the daemon reported it.

    Raises `ConfigurationError` if no block is agreed although several peers are required.
    """
    report = await read_sync_state(store.database)
    height = stored.committed_height
    if report is not None and report.peers_required >= required:
        height = Height(report.agreed_below(height))
    elif required > 1:
        height = Height(0)
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
