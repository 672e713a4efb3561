"""Makes the evidence bundle of a stored transaction, and writes it into a file."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import click
from msgspec import Struct
from pymongo import AsyncMongoClient

from cli.assembly.archive import raw_blocks
from cli.assembly.evidence import from_archive, from_source, with_anchor
from cli.assembly.mongo import mongo_client, stored_channels
from cli.commands.verify import block_source, channel_of_source
from cli.configuration.settings import Settings
from cli.errors import ConfigurationError, UnavailableError
from cli.output.console import messages, print_json
from ledger.mongodb.evidence import Evidence, MissingBlocksError, ReadBlocks, make_evidence
from ledger.mongodb.reader import LedgerReader
from ledger.mongodb.store import LedgerStore
from ledger.position import MAX_BLOCK_NUMBER, MAX_INDEX, BlockNumber, unpack_position

_ARCHIVE: Final = "archive"
_POSITION: Final = re.compile(r"(\d{1,19}):(\d{1,7})", re.ASCII)


class Request(Struct, frozen=True):
    """What to prove: an id or a position `BLOCK:INDEX`; where the blocks come from; the file."""

    transaction: str
    channel: str | None
    source: str | None
    output: Path


class Written(Struct, frozen=True, rename="camel"):
    """What was written: the position of the transaction, and the anchor of the bundle's trust."""

    channel: str
    block: int
    index: int
    source: str
    file: str
    bytes: int
    anchor: int
    anchor_hash: str


async def make_file(settings: Settings, request: Request, *, as_json: bool) -> None:
    """Make the bundle and write it.

    Raises `UsageError` if there is no such transaction, `LedgerError` if the bundle would prove
    nothing, and `UnavailableError` if no source has the blocks or the file cannot be written.
    """
    source = None if request.source == _ARCHIVE else request.source
    async with mongo_client(settings) as client:
        channel = await _channel(client, settings, await channel_of_source(source, request.channel))
        store = LedgerStore(client, settings.database_of(channel))
        number, index = await _position(client, store, request.transaction)
        sources = _sources(settings, channel, store, request.source)
        evidence, name = await _make(store, number, index, sources)
    _write(request.output, evidence.bundle)
    written = Written(
        channel,
        number,
        index,
        name,
        str(request.output),
        len(evidence.bundle),
        evidence.anchor,
        evidence.anchor_hash.hex(),
    )
    if as_json:
        print_json(written)
    messages.print(
        f"{written.file}: {written.bytes:,} bytes, from {name}. It proves transaction {index} of "
        f"block {number} of {channel} to whoever trusts the hash {written.anchor_hash} of block "
        f"{written.anchor}: `kindledger evidence verify {written.file} --genesis HASH`. Tell this "
        "hash by another way than the file.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


async def _channel(
    client: AsyncMongoClient[dict[str, Any]], settings: Settings, channel: str | None
) -> str:
    if channel is not None:
        return channel
    channels = await stored_channels(client, settings)
    if len(channels) != 1:
        known = ", ".join(channels) or "none is stored"
        raise ConfigurationError(f"--channel: name the channel of the transaction, one of: {known}")
    return next(iter(channels))


async def _position(
    client: AsyncMongoClient[dict[str, Any]], store: LedgerStore, transaction: str
) -> tuple[int, int]:
    """Return block and index of the transaction. Raises `UsageError` if it is not stored."""
    checkpoint = await store.checkpoint()
    head = checkpoint.head.number if checkpoint is not None else -1
    match = _POSITION.fullmatch(transaction)
    if match is None:
        reader = LedgerReader(client, store.database.name)
        position = await reader.owner_position(transaction, BlockNumber(head))
        if position is None:
            raise click.UsageError(f"no stored transaction has the id {transaction!r}")
        return unpack_position(position)
    number, index = int(match[1]), int(match[2])
    if number > min(head, MAX_BLOCK_NUMBER) or index > MAX_INDEX:
        raise click.UsageError(f"{transaction}: no such block is stored; the highest is {head}")
    return number, index


async def _make(
    store: LedgerStore, number: int, index: int, sources: AsyncIterator[tuple[str, ReadBlocks]]
) -> tuple[Evidence, str]:
    """Return the evidence and the name of its source, the first one that has the blocks."""
    missing: list[str] = []
    async for name, read in sources:
        try:
            return await make_evidence(store.database, number, index, read), name
        except MissingBlocksError as error:
            missing.append(f"{name}: {error}")
    raise UnavailableError(
        f"block {number} and the CONFIG blocks below it cannot be read: {'; '.join(missing)}. Give "
        "a source that has them: --source peer:NAME, or block files"
    )


async def _sources(
    settings: Settings, channel: str, store: LedgerStore, source: str | None
) -> AsyncIterator[tuple[str, ReadBlocks]]:
    """Yield the sources in the order of their use. Raises `ConfigurationError` if there is none."""
    if source in (None, _ARCHIVE):
        archive = raw_blocks(settings, store.database, channel)
        yield _ARCHIVE, with_anchor(from_archive(archive), settings, channel)
    if source != _ARCHIVE:
        blocks = await block_source(settings, channel, source or "peer", store)
        read = from_source(blocks, settings.indexer.stall_s)
        yield blocks.name, with_anchor(read, settings, channel)


def _write(path: Path, bundle: bytes) -> None:
    """Write the file as a whole: a failure leaves no part of it under its name."""
    temporary = path.with_name(f"{path.name}.part")
    try:
        temporary.write_bytes(bundle)
        temporary.replace(path)
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be written: {error.strerror}") from error
