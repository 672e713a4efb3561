"""`kindledger verify`: compares stored ledgers with themselves and with blocks."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from msgspec import Struct
from pymongo import AsyncMongoClient

from cli.assembly.archive import raw_blocks
from cli.assembly.mongo import mongo_client, stored_channels
from cli.assembly.network import peer_sources
from cli.assembly.peer_choice import named_peer, other_peer
from cli.assembly.signatures import signature_checks
from cli.commands.import_files import channel_of, print_notices
from cli.commands.options import LoadSettings, json_option
from cli.configuration.settings import Settings
from cli.errors import ConfigurationError, Exit, UnavailableError, exit_on_failure
from cli.output.console import messages, print_json
from indexer.audit.verification import Difference, Verifier
from indexer.sources.archive_source import ArchiveSource
from indexer.sources.block_source import BlockSource
from indexer.sources.file_source import FileSource
from ledger.mongodb.index_builds import has_owner_index
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import (
    DifferenceCounts,
    Verification,
    read_sync_state,
    record_verification,
)
from ledger.position import Height

_MAX_SHOWN = 100
_PEER = "peer"
"""The value of `--source` for a configured peer, alone or before `:` and the peer's name."""
_ARCHIVE = "archive"
"""The value of `--source` for the archive of raw blocks, alone or before `:` and its place."""


@click.command("verify", short_help="Check stored ledgers, also against blocks.")
@click.option("--channel", help="Verify this channel only.")
@click.option(
    "--source",
    metavar=f"PATH|{_PEER}[:NAME]|{_ARCHIVE}[:PLACE]",
    help="Also compare with block files, with the blocks of a configured peer (the one with this "
    "name or address, or else another one than the data came from), or with the archive of raw "
    "blocks (the configured one, or in `mongodb`, or in this folder).",
)
@click.option(
    "--signatures/--no-signatures",
    default=True,
    help="Verify the signatures in the blocks of the source, too.",
    show_default=True,
)
@json_option
@click.pass_obj
def verify_command(
    load: LoadSettings,
    /,
    *,
    channel: str | None,
    source: str | None,
    signatures: bool,
    as_json: bool,
) -> None:
    """Check the chain, counts, events and digests of stored ledgers, and their raw blocks.

    With --source every stored document is also compared with the blocks, and every block with the
    documents; and the signatures of orderers, creators and endorsers in the blocks are verified.
    Block files determine the channel. Exits 65 if there is a difference, 78 if no block
    of a channel is stored.
    """
    with exit_on_failure():
        raise SystemExit(
            asyncio.run(verify(load(), channel, source, signatures=signatures, as_json=as_json))
        )


class Report(Struct, frozen=True, rename="camel"):
    """The outcome for one channel; `shown` holds the first differences.

    `digest` is the digest of the highest block, None if it has none.
    """

    channel: str
    height: Height
    source: str | None
    digest: str | None
    differences: int
    kinds: DifferenceCounts
    shown: list[Difference]


async def verify(
    settings: Settings,
    channel: str | None,
    source: str | None,
    *,
    signatures: bool = True,
    as_json: bool,
) -> Exit:
    """Verify one channel or all channels, print the outcome, and return the exit code.

    The source is a path of block files, or as `block_source` describes. Block files belong to one
    channel, and only this channel is verified. The exit code is DATA if there is a difference, else
    CONFIGURATION if no block of a channel is stored.
    """
    channel = await channel_of_source(source, channel)
    async with mongo_client(settings) as client:
        channels = await stored_channels(client, settings)
        if channel is not None:
            channels = {channel: channels.get(channel) or settings.database_of(channel)}
        if not channels:
            raise ConfigurationError(
                "no channel is stored in this MongoDB, so there is nothing to verify"
            )
        reports = [
            await _verify_channel(client, settings, name, database, source, signatures=signatures)
            for name, database in channels.items()
        ]
    if as_json:
        print_json({"channels": reports})
    for report in reports:
        messages.print(_describe(report), highlight=False, soft_wrap=True)
    if any(report.differences for report in reports):
        return Exit.DATA
    return Exit.OK if all(report.height for report in reports) else Exit.CONFIGURATION


async def _channel_of_files(source: str, expected: str | None) -> str:
    channel = await channel_of(_file_source(source))
    if expected not in (None, channel):
        raise ConfigurationError(
            f"--source: {source}: holds blocks of channel {channel}, not of {expected}"
        )
    return channel


def _describe(report: Report) -> str:
    if not report.height:
        return (
            f"{report.channel}: no block of it is stored in this MongoDB, so nothing was verified"
        )
    source = f", also against {report.source}" if report.source else ""
    verdict = "no difference" if report.differences == 0 else f"{report.differences:,} differences"
    digest = f", digest {report.digest}" if report.digest else ""
    return f"{report.channel}: {report.height:,} blocks verified{source}: {verdict}{digest}"


async def _verify_channel(
    client: AsyncMongoClient[dict[str, Any]],
    settings: Settings,
    channel: str,
    database: str,
    source: str | None,
    *,
    signatures: bool,
) -> Report:
    store = LedgerStore(client, database)
    shown: list[Difference] = []

    def report(difference: Difference) -> None:
        if len(shown) < _MAX_SHOWN:
            shown.append(difference)
            line = f"{channel}: block {difference.block}: {difference.what}"
            messages.print(line, markup=False, highlight=False, soft_wrap=True)

    with messages.status(f"verifying {channel}") as status:
        verifier = Verifier(
            store, report, lambda height: status.update(f"verifying {channel}: block {height:,}")
        )
        if source is not None and not await has_owner_index(store.database):
            raise UnavailableError(
                f"{channel}: the index of transaction ids does not exist, so the ledger cannot be "
                "compared with its source yet. `kindledger run` and `import` build missing indexes"
            )
        state = await read_sync_state(store.database)
        known_height = state.committed_height if state is not None else 0
        height = await verifier.check_consistency(known_height)
        known_archive = state.archive if state is not None else None
        archive = raw_blocks(settings, store.database, channel)
        await verifier.check_raw_blocks(archive, known_archive, height)
        checkpoint = await store.checkpoint()
        if source is not None and checkpoint is not None:
            blocks = await block_source(settings, channel, source, store)
            source = f"peer {blocks.name}" if _is_peer(source) else source
            async with aclosing(blocks.blocks(checkpoint.start, None)) as delivered:
                start = checkpoint.start
                config = await store.last_config(start)
                checks = signature_checks(settings, channel, start, config)
                await verifier.compare(delivered, start, height, checks if signatures else None)
            print_notices(blocks)
    if height:
        outcome = Verification(
            datetime.now(UTC), height, verifier.difference_count, verifier.counts_by_kind
        )
        await record_verification(store.database, channel, outcome)
    return Report(
        channel,
        height,
        source,
        verifier.head_digest.hex() or None,
        verifier.difference_count,
        verifier.counts_by_kind,
        shown,
    )


def _is_peer(source: str) -> bool:
    return source == _PEER or source.startswith(f"{_PEER}:")


def _is_archive(source: str) -> bool:
    return source == _ARCHIVE or source.startswith(f"{_ARCHIVE}:")


async def block_source(
    settings: Settings, channel: str, source: str, store: LedgerStore
) -> BlockSource:
    """Return the source of blocks that the option `--source` names.

    It is a path of block files; `peer`, or `peer:` and the name of a peer; `archive`, or `archive:`
    and `mongodb` or a folder.
    """
    if _is_archive(source):
        place = source.removeprefix(_ARCHIVE).removeprefix(":")
        return ArchiveSource(raw_blocks(settings, store.database, channel, place))
    if not _is_peer(source):
        return _file_source(source)
    peers = peer_sources(settings.fabric, channel)
    name = source.removeprefix(_PEER).removeprefix(":")
    if name:
        return named_peer(peers, name)
    state = await read_sync_state(store.database)
    followed = state.peer if state is not None else None
    return await other_peer(peers, followed, settings.indexer.stall_s)


def _file_source(source: str) -> FileSource:
    path = Path(source)
    if not path.exists():
        raise click.UsageError(
            f"--source: {path}: no such file or folder; give a folder or archive of block files, "
            f"{_PEER!r}, {_PEER + ':NAME'!r}, or {_ARCHIVE!r}"
        )
    return FileSource([path])


async def channel_of_source(source: str | None, expected: str | None) -> str | None:
    """Return the channel of the source's files, or the expected one if the source has no files.

    Raises `ConfigurationError` if the files belong to another channel than the expected one.
    """
    if source is None or _is_peer(source) or _is_archive(source):
        return expected
    return await _channel_of_files(source, expected)
