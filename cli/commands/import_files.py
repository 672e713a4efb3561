"""`kindledger import`: indexes block files."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import click

from cli.assembly.channel import new_progress
from cli.assembly.finite_indexing import index_source
from cli.assembly.mongo import mongo_client
from cli.commands.options import LoadSettings, indexes_option, json_option, profile_option
from cli.configuration.settings import IndexCreation, Settings
from cli.errors import Exit, exit_on_failure
from cli.output.console import messages
from cli.output.indexing import report_indexing, show_indexing
from cli.output.profile import print_profile
from cli.output.progress_bars import file_progress
from cli.output.summary import print_summary, summarise
from indexer.monitoring.time_shares import stage_times, time_shares
from indexer.sources.block_source import BlockSource
from indexer.sources.file_source import FileSource
from ledger.errors import LedgerError
from ledger.mongodb.store import LedgerStore


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
        began = stage_times(progress, time.monotonic())
        bar = asyncio.create_task(
            show_indexing(
                file_progress(),
                f"importing {channel}",
                source.size,
                lambda: source.read_bytes,
                progress,
            )
        )
        first = configured if start is None else start
        try:
            code = await index_source(settings, store, source, progress, first=first)
        finally:
            bar.cancel()
        shares = time_shares(began, stage_times(progress, time.monotonic()))
        report_indexing(progress, shares.elapsed_s)
        print_notices(source)
        if profile:
            print_profile(progress.channel, shares, progress.encoder)
        summary = await summarise(store.database, channel)
        print_summary(summary, progress.redelivered_blocks, as_json=as_json)
        return code
