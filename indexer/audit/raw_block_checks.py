"""Compares the kept raw blocks with the stored blocks."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct
from pymongo.asynchronous.database import AsyncDatabase

from ledger.decoding.block_identities import BlockIdentity
from ledger.errors import DamagedRawBlockError
from ledger.mongodb.block_identities import StoredIdentities
from ledger.raw_blocks import KeptBlock, RawBlocks, check_raw_block

_SMALL_BYTES: Final = 1 << 16
"""The size of frames up to which they are checked without a thread."""
_PROGRESS_INTERVAL: Final = 100


class RawFault(StrEnum):
    """What is wrong with raw blocks."""

    MISSING = "missing"
    DAMAGED = "damaged"
    OTHER = "other"  # a whole block, but not the stored one


class RawBlockFault(Struct, frozen=True):
    """What is wrong with the raw blocks from `first` to `last`; `what` describes it."""

    first: int
    last: int
    fault: RawFault
    what: str


async def raw_block_faults(
    database: AsyncDatabase[Any],
    archive: RawBlocks,
    first: int,
    height: int,
    advance: Callable[[int], None] = lambda _: None,
) -> AsyncGenerator[RawBlockFault, None]:
    """Yield what is wrong with the raw blocks from `first` on and below `height`, in order.

    Calls `advance` with the checked height at intervals. A block whose block document is missing
    is compared with nothing.
    """
    expected, identities = first, StoredIdentities(database)
    async with aclosing(archive.kept_blocks(first, height - 1)) as kept:
        async for block in kept:
            if block.number > expected:
                yield _missing(archive, expected, block.number - 1)
            fault = await _fault(block, await identities.find(block.number))
            if fault is not None:
                yield fault
            expected = block.number + 1
            if expected % _PROGRESS_INTERVAL == 0:
                advance(expected)
    if expected < height:
        yield _missing(archive, expected, height - 1)


def _missing(archive: RawBlocks, first: int, last: int) -> RawBlockFault:
    numbers = f"raw block {first} is" if first == last else f"raw blocks {first} to {last} are"
    return RawBlockFault(first, last, RawFault.MISSING, f"{numbers} not kept in {archive.name}")


async def _fault(block: KeptBlock, stored: BlockIdentity | None) -> RawBlockFault | None:
    if len(block.frame) <= _SMALL_BYTES:
        return _check(block, stored)
    return await asyncio.to_thread(_check, block, stored)


def _check(block: KeptBlock, stored: BlockIdentity | None) -> RawBlockFault | None:
    try:
        data = block.block_bytes()
        if stored is not None:
            check_raw_block(data, stored, block.place)
    except DamagedRawBlockError as error:
        fault = RawFault.OTHER if error.is_other_block else RawFault.DAMAGED
        what = f"raw block {block.number}: {error.place}: {error.what}"
        return RawBlockFault(block.number, block.number, fault, what)
    return None
