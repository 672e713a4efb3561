"""`kindledger import`: indexes block files."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import click

from cli.assembly.channel import index_options, index_policy, new_progress, pipeline_limits
from cli.assembly.daemon import run_until_signal
from cli.assembly.mongo import mongo_client
from cli.assembly.signatures import block_signatures
from cli.commands.options import LoadSettings, indexes_option, json_option, profile_option
from cli.configuration.settings import IndexCreation, Settings
from cli.errors import Exit, exit_on_failure
from cli.output.console import messages
from cli.output.profile import print_profile
from cli.output.progress_bars import file_progress
from cli.output.summary import print_summary, summarise
from cli.version import VERSION
from indexer.daemon import Daemon, DaemonChannel
from indexer.monitoring.time_shares import stage_times, time_shares
from indexer.pipeline.channel_indexer import ChannelIndexer
from indexer.progress.channel_progress import ChannelProgress
from indexer.sources.block_source import BlockSource
from indexer.sources.file_source import FileSource
from ledger.errors import LedgerError
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import describe_build

_STORE_RETRY_S = 30.0
"""How long an import waits for MongoDB; the configured time is meant for the daemon."""
_REDRAW_S = 0.25
_LIMIT_READINGS = 20
"""The number of redraws over which the bar tells what limits the rate."""


@click.command("import", short_help="Index block files.")
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="PATH...",
)
@click.option(
    "--start",
    type=click.IntRange(0),
    help="First block of the ledger, for a store that is still empty.",
)
@click.option("--database", help="Database to index into, instead of the channel's database.")
@profile_option
@indexes_option
@json_option
@click.pass_obj
def import_command(
    load: LoadSettings,
    /,
    *,
    paths: tuple[Path, ...],
    start: int | None,
    database: str | None,
    profile: bool,
    indexes: IndexCreation | None,
    as_json: bool,
) -> None:
    """Index block files: files, or folders or tar archives of them.

    A file NNNNNN.block has one serialized block, as `peer channel fetch` writes it. A file
    blockfile_NNNNNN is a peer's own ledger file: give the folder of the channel in
    ledgersData/chains/chains, or a copy of it.

    Blocks that are stored already are compared by header hash, validation codes and commit hash
    only; `kindledger verify --source` compares all documents.
    """
    with exit_on_failure():
        settings = load().with_indexes(indexes)
        code = asyncio.run(
            import_files(
                settings, paths, start=start, database=database, profile=profile, as_json=as_json
            )
        )
        raise SystemExit(code)


class NoChannelError(LedgerError):
    """No block of the files names its channel."""

    def __init__(self, source: FileSource) -> None:
        super().__init__(
            f"{source.name}: no block file with a valid transaction that names its channel was "
            "found; give a folder or tar archive of *.block files, as `peer channel fetch` writes "
            "them, or of a peer's ledger files (blockfile_NNNNNN)."
        )
        for notice in source.notices:
            self.append(notice)


async def channel_of(source: FileSource) -> str:
    """Return the channel that the files belong to. Raises `NoChannelError`."""
    channel = await asyncio.to_thread(source.channel)
    if channel is None:
        raise NoChannelError(source)
    return channel


def print_notices(source: BlockSource | None) -> None:
    """Print what the user must know about files that were read to their end."""
    if isinstance(source, FileSource):
        for notice in source.notices:
            messages.print(notice, markup=False, highlight=False, soft_wrap=True)


async def import_files(
    settings: Settings,
    paths: Sequence[Path],
    *,
    start: int | None,
    database: str | None,
    profile: bool = False,
    as_json: bool,
) -> Exit:
    """Index every block of the files, print the totals of the database, return the exit code."""
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
            limits=pipeline_limits(settings.indexer, store_retry_s=_STORE_RETRY_S),
            indexes=index_options(settings.indexer),
            index_policy=index_policy(settings.indexer),
            signatures=block_signatures(settings, channel, progress),
        )
        began = stage_times(progress, time.monotonic())
        bar = asyncio.create_task(_show_progress(source, progress))
        try:
            code = await run_until_signal(
                Daemon([DaemonChannel(indexer, progress, store.database)], VERSION)
            )
        finally:
            bar.cancel()
        shares = time_shares(began, stage_times(progress, time.monotonic()))
        _report(progress, shares.elapsed_s)
        print_notices(source)
        if profile:
            print_profile(progress.channel, shares, progress.encoder)
        summary = await summarise(store.database, channel)
        print_summary(summary, progress.redelivered_blocks, as_json=as_json)
        return code


async def _show_progress(source: FileSource, progress: ChannelProgress) -> None:
    with file_progress() as bar:
        task = bar.add_task(f"importing {progress.channel}", total=source.size, rate="")
        times = deque([stage_times(progress, time.monotonic())], maxlen=_LIMIT_READINGS)
        while True:
            rate = _describe(progress, time_shares(times[0], times[-1]).limit)
            bar.update(task, completed=source.read_bytes, rate=rate)
            await asyncio.sleep(_REDRAW_S)
            times.append(stage_times(progress, time.monotonic()))


def _describe(progress: ChannelProgress, limit: str | None) -> str:
    """Return the rate, the last block and the limit, or how far the builds of indexes are."""
    if progress.index_build is not None:
        return describe_build(progress.index_build)
    limited = f", limited by {limit}" if limit is not None else ""
    block = max(progress.committed_height - 1, 0)
    return f"{progress.rate:,.0f} tx/s, block {block:,}{limited}"


def _report(progress: ChannelProgress, seconds: float) -> None:
    rate = progress.transactions / seconds if seconds else 0
    messages.print(
        f"{progress.blocks:,} new blocks, {progress.transactions:,} transactions, "
        f"{progress.events:,} events in {seconds:.1f} s ({rate:,.0f} tx/s); "
        f"{progress.redelivered_blocks:,} blocks were already stored; "
        f"{progress.undecodable:,} envelopes could not be decoded completely",
        highlight=False,
        soft_wrap=True,
    )
    if progress.redelivered_blocks:
        messages.print(
            "The blocks that were already stored were compared by header hash, validation codes "
            "and commit hash only. `kindledger verify --source PATH` compares all their documents",
            highlight=False,
            soft_wrap=True,
        )
