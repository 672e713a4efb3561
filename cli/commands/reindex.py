"""`kindledger reindex`: indexes a stored channel again, into another database."""

import asyncio
import time
from typing import Any, Final

import click
from msgspec import Struct
from pymongo import AsyncMongoClient

from cli.assembly.archive import raw_blocks
from cli.assembly.channel import new_progress
from cli.assembly.finite_indexing import index_source
from cli.assembly.mongo import mongo_client
from cli.commands.options import LoadSettings, indexes_option, json_option
from cli.commands.verify import block_source, channel_of_source
from cli.configuration.settings import IndexCreation, Settings
from cli.errors import ConfigurationError, Exit, UnavailableError, exit_on_failure
from cli.output.console import messages, print_json
from cli.output.indexing import report_indexing, show_indexing
from cli.output.progress_bars import block_progress
from indexer.sources.archive_source import ArchiveSource
from indexer.sources.bounded_source import BoundedSource
from ledger.errors import LedgerError
from ledger.mongodb.block_range import stored_format
from ledger.mongodb.collections import RESERVED_DATABASES
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.stored_blocks import Checkpoint
from ledger.mongodb.sync_state import read_channel_name

_ARCHIVE: Final = "archive"


@click.command("reindex", short_help="Index a channel again, into another database.")
@click.option("--channel", required=True, help="The channel to index again.")
@click.option(
    "--into",
    "target",
    required=True,
    metavar="DATABASE",
    help="An empty database, or one into which a reindex of the channel was interrupted.",
)
@click.option(
    "--source",
    default=_ARCHIVE,
    metavar="archive[:PLACE]|peer[:NAME]|PATH",
    help="The archive of raw blocks (PLACE is `mongodb` or a folder), a configured peer, or block "
    "files.",
    show_default=True,
)
@indexes_option
@json_option
@click.pass_obj
def reindex_command(
    load: LoadSettings,
    /,
    *,
    channel: str,
    target: str,
    source: str,
    indexes: IndexCreation | None,
    as_json: bool,
) -> None:
    """Index a stored channel again into another database, beside the present one.

    The daemon may run meanwhile. At the end height and digest are compared with those of the
    present database, and the setting that makes the new one the channel's database is printed.
    Exits 65 if both ledgers differ.
    """
    with exit_on_failure():
        settings = load().with_indexes(indexes)
        code, report = asyncio.run(reindex(settings, channel, target, source))
        if as_json and report is not None:
            print_json(report)
        raise SystemExit(code)


class Side(Struct, frozen=True):
    """A ledger: its database, and height, format, hash and digest of its highest block."""

    database: str
    height: int
    format: int | None
    hash: str
    digest: str | None


class Report(Struct, frozen=True):
    """The outcome: both ledgers at the same height, and whether they are equal.

    `equal` is None if both have other formats, so that their digests cannot be equal.
    """

    channel: str
    source: str
    before: Side
    after: Side
    equal: bool | None


async def reindex(
    settings: Settings, channel: str, target: str, source_name: str
) -> tuple[Exit, Report | None]:
    """Index the channel into the database `target`; return the exit code and the outcome.

    There is no outcome if a signal ended the indexing.
    """
    if target == settings.database_of(channel) or target in RESERVED_DATABASES:
        owner = "MongoDB's own" if target in RESERVED_DATABASES else "the channel's present"
        raise click.UsageError(f"--into: {target} is {owner} database")
    await channel_of_source(source_name, channel)
    async with mongo_client(settings) as client:
        present = LedgerStore(client, settings.database_of(channel))
        checkpoint = await present.checkpoint()
        if checkpoint is None:
            raise ConfigurationError(
                f"no block of {channel} is stored in the database {present.database.name}, so "
                "there is nothing to index again; `import` and `run` index a channel"
            )
        store = await _target(client, target, channel)
        if source_name == _ARCHIVE:
            await _check_archive(settings, present, channel, checkpoint)
            archive = raw_blocks(settings, present.database, channel)
            source = BoundedSource(ArchiveSource(archive, present.database), checkpoint.head.number)
        else:
            delivering = await block_source(settings, channel, source_name, present)
            source = BoundedSource(delivering, checkpoint.head.number)
        code = await _index(settings, store, source, channel, checkpoint)
        if code is not Exit.OK:
            return code, None
        report = await _compare(channel, source_name, present, store, checkpoint)
    _print(report)
    return Exit.DATA if report.equal is False else Exit.OK, report


async def _target(
    client: AsyncMongoClient[dict[str, Any]], target: str, channel: str
) -> LedgerStore:
    """Return the store of the new ledger.

    Raises `ConfigurationError` if the database holds anything but a reindex of the channel.
    """
    store = LedgerStore(client, target)
    found = await store.database.list_collection_names(authorizedCollections=True)
    if found and await read_channel_name(store.database) != channel:
        raise ConfigurationError(
            f"--into: the database {target} is not empty, and does not hold channel {channel}: it "
            f"has the collections {', '.join(sorted(found)[:5])}. Name an empty database"
        )
    return store


async def _check_archive(
    settings: Settings, present: LedgerStore, channel: str, checkpoint: Checkpoint
) -> None:
    """Raise `UnavailableError` if the archive does not begin and end where the ledger does."""
    archive = raw_blocks(settings, present.database, channel)
    kept = await archive.kept_range()
    first, last = checkpoint.start, checkpoint.head.number
    if kept is None or kept.first > first or kept.last < last:
        has = f"the raw blocks {kept.first} to {kept.last}" if kept is not None else "no raw block"
        raise UnavailableError(
            f"{archive.name} has {has}, and the ledger has the blocks {first} to {last}. Fetch the "
            "others with `kindledger repair --source peer --apply`, or name another --source"
        )


async def _index(
    settings: Settings,
    store: LedgerStore,
    source: BoundedSource,
    channel: str,
    checkpoint: Checkpoint,
) -> Exit:
    progress = new_progress(channel)
    bar = asyncio.create_task(
        show_indexing(
            block_progress(),
            f"reindexing {channel}",
            checkpoint.head.number + 1,
            lambda: progress.committed_height,
            progress,
        )
    )
    began = time.monotonic()
    try:
        code = await index_source(settings, store, source, progress, first=checkpoint.start)
    finally:
        bar.cancel()
    report_indexing(progress, time.monotonic() - began)
    return code


async def _compare(
    channel: str, source: str, present: LedgerStore, new: LedgerStore, checkpoint: Checkpoint
) -> Report:
    number = checkpoint.head.number
    before, after = await _side(present, number), await _side(new, number)
    equal: bool | None = before.hash == after.hash
    if equal:
        equal = before.digest == after.digest if before.format == after.format else None
    return Report(channel, source, before, after, equal)


async def _side(store: LedgerStore, number: int) -> Side:
    """Return the ledger as it is up to block `number`."""
    head = await store.block(number)
    checkpoint = await store.checkpoint()
    if head is None or checkpoint is None:
        raise LedgerError(
            f"the database {store.database.name} does not have block {number} after the indexing: "
            "the source ended before, or another process removed it. Compare with `kindledger "
            "verify`"
        )
    return Side(
        store.database.name,
        number + 1,
        await stored_format(store.database, number),
        head.hash.hex(),
        head.digest.hex() or None,
    )


def _print(report: Report) -> None:
    before, after = report.before, report.after
    lines = [
        f"{each.database}: {each.height:,} blocks, format {each.format}, digest {each.digest}"
        for each in (before, after)
    ]
    if report.equal is None:
        lines.append(
            "Both have the same blocks. The formats differ, and so do the documents and the digests"
        )
    else:
        lines.append("Both ledgers are equal" if report.equal else "The ledgers differ")
    if report.equal is not False:
        lines.append(
            f"To use the new one, configure it, and start the daemon and the API again:\n\n"
            f'[channels.{report.channel}]\ndatabase = "{after.database}"\n'
        )
    else:
        lines.append(
            f"`kindledger verify --source {report.source}` shows where {before.database} differs"
        )
    for line in lines:
        messages.print(line, markup=False, highlight=False, soft_wrap=True)
