"""Where the blocks of an evidence bundle come from, as configured."""

import asyncio
from collections.abc import Mapping, Sequence

from cli.assembly.signatures import configured_anchor
from cli.configuration.settings import ChannelSettings, Settings
from indexer.sources.block_source import BlockSource, SourceUnavailableError
from indexer.sources.single_blocks import read_blocks
from ledger.mongodb.evidence import ReadBlocks
from ledger.raw_blocks import RawBlocks


def from_archive(archive: RawBlocks) -> ReadBlocks:
    """Return the function that reads blocks from an archive."""

    async def read(numbers: Sequence[int]) -> Mapping[int, bytes]:
        found = {number: await archive.raw_block(number) for number in numbers}
        return {number: block for number, block in found.items() if block is not None}

    return read


def from_source(source: BlockSource, limit_s: float) -> ReadBlocks:
    """Return the function that reads blocks from a source.

    A peer gets `limit_s` seconds for all of them; else it raises `SourceUnavailableError`.
    """

    async def read(numbers: Sequence[int]) -> Mapping[int, bytes]:
        if source.finite:
            return await read_blocks(source, numbers)
        try:
            async with asyncio.timeout(limit_s):
                return await read_blocks(source, numbers)
        except TimeoutError:
            message = f"{source.name} did not give {len(numbers)} blocks within {limit_s:g} s"
            raise SourceUnavailableError("timeout", message) from None

    return read


def with_anchor(read: ReadBlocks, settings: Settings, channel: str) -> ReadBlocks:
    """Return a function that reads the channel's configured CONFIG block from its file.

    It is below the start block, so that an archive or a peer may not have it. Raises
    `ConfigurationError` if it cannot be used.
    """
    anchor = configured_anchor(settings, channel)
    path = settings.channels.get(channel, ChannelSettings()).config_block
    if anchor is None or path is None:
        return read
    known = {anchor.number: path.read_bytes()}

    async def read_with_anchor(numbers: Sequence[int]) -> Mapping[int, bytes]:
        found = await read([number for number in numbers if number not in known])
        return {**found, **{n: block for n, block in known.items() if n in numbers}}

    return read_with_anchor
