"""`kindledger import`: indexes block files."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from cli.assembly.daemon import indexes_of, limits_of, new_progress, until_signal
from cli.assembly.mongo import mongo_client
from cli.configuration.settings import Settings
from cli.errors import Exit
from cli.output.console import file_progress, messages
from cli.output.summary import print_summary, summarise
from cli.version import VERSION
from indexer.channel_indexer import ChannelIndexer
from indexer.channel_progress import ChannelProgress
from indexer.daemon import Daemon, DaemonChannel
from indexer.file_source import FileSource
from ledger.errors import LedgerError
from ledger.mongodb.store import LedgerStore

_STORE_RETRY_S = 30.0
_REDRAW_S = 0.25


class NoChannelError(LedgerError):
    """No block of the source names its channel."""

    def __init__(self, source: FileSource) -> None:
        super().__init__(
            f"{source.name}: no block file with a valid transaction that names its channel was found; give a folder or "
            "tar archive of *.block files, as `peer channel fetch` writes them"
        )


async def channel_of(source: FileSource) -> str:
    """The channel that the files belong to. Raises `NoChannelError`."""
    channel = await asyncio.to_thread(source.channel)
    if channel is None:
        raise NoChannelError(source)
    return channel


async def import_files(
    settings: Settings,
    paths: Sequence[Path],
    *,
    start: int | None,
    database: str | None,
    as_json: bool,
) -> Exit:
    """Indexes every block of the files and prints what the database then holds."""
    source = FileSource(paths)
    channel = await channel_of(source)
    async with mongo_client(settings) as client:
        await client.admin.command("ping")
        store = LedgerStore(client, database or settings.database_of(channel))
        progress = new_progress(channel)
        configured = settings.channels[channel].start_block if channel in settings.channels else 0
        indexer = ChannelIndexer(
            store,
            [source],
            progress,
            first=configured if start is None else start,
            limits=limits_of(settings.indexer, store_retry_s=_STORE_RETRY_S),
            indexes=indexes_of(settings.indexer),
        )
        began = time.monotonic()
        showing = asyncio.create_task(_show(source, progress))
        try:
            code = await until_signal(
                Daemon([DaemonChannel(indexer, progress, store.database)], VERSION)
            )
        finally:
            showing.cancel()
        _say_what_was_done(progress, time.monotonic() - began)
        print_summary(await summarise(store.database, channel), as_json=as_json)
        return code


async def _show(source: FileSource, progress: ChannelProgress) -> None:
    with file_progress() as bar:
        task = bar.add_task(f"importing {progress.channel}", total=source.size, rate="")
        while True:
            rate = f"{progress.rate:,.0f} tx/s, block {max(progress.committed_height - 1, 0):,}"
            bar.update(task, completed=source.read_bytes, rate=rate)
            await asyncio.sleep(_REDRAW_S)


def _say_what_was_done(progress: ChannelProgress, seconds: float) -> None:
    rate = progress.transactions / seconds if seconds else 0
    messages.print(
        f"{progress.blocks:,} new blocks, {progress.transactions:,} transactions, {progress.events:,} events in "
        f"{seconds:.1f} s ({rate:,.0f} tx/s); {progress.redelivered_blocks:,} blocks were there already; "
        f"{progress.undecodable:,} envelopes could not be decoded to the bottom",
        highlight=False,
        soft_wrap=True,
    )
