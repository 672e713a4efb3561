"""Indexes the blocks of a source that ends, for `import` and `reindex`."""

from typing import Final

from cli.assembly.archive import raw_block_archive
from cli.assembly.channel import index_options, index_policy, pipeline_limits
from cli.assembly.daemon import run_until_signal
from cli.assembly.signatures import block_signatures
from cli.configuration.settings import Settings
from cli.errors import Exit
from cli.version import VERSION
from indexer.daemon import Daemon, DaemonChannel
from indexer.pipeline.channel_indexer import ChannelIndexer
from indexer.progress.channel_progress import ChannelProgress
from indexer.sources.block_source import BlockSource
from ledger.mongodb.store import LedgerStore

_STORE_RETRY_S: Final = 30.0
"""How long a command waits for MongoDB; the configured time is meant for the daemon."""


async def index_source(
    settings: Settings,
    store: LedgerStore,
    source: BlockSource,
    progress: ChannelProgress,
    *,
    first: int,
) -> Exit:
    """Index every block of the source that is not stored, from block `first` on.

    Return the exit code: that of the signal which ended the indexing, or OK.
    """
    channel = progress.channel
    async with raw_block_archive(settings, store.database, channel) as archive:
        indexer = ChannelIndexer(
            store,
            [source],
            progress,
            first=first,
            limits=pipeline_limits(settings.indexer, store_retry_s=_STORE_RETRY_S),
            indexes=index_options(settings.indexer),
            index_policy=index_policy(settings.indexer),
            signatures=block_signatures(settings, channel, progress),
            raw_blocks=archive,
        )
        return await run_until_signal(
            Daemon([DaemonChannel(indexer, progress, store.database)], VERSION)
        )
