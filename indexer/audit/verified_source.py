"""Reads the blocks of a source as one chain, which must contain the highest stored block."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from indexer.sources.block_source import BlockSource, DeliveredBlock
from ledger.decoding.blocks import UndecodedBlock, read_block
from ledger.documents.format import Document
from ledger.errors import ChainMismatchError
from ledger.hashes import block_hash
from ledger.mongodb.repairs import RepairStore

_OTHER_CHAIN: Final = (
    "The source and the stored ledger are different chains, so nothing was changed. If the source "
    "is right, `kindledger repair --truncate-to N` cuts off the stored blocks above the last "
    "common block N, and the daemon continues from there. If not, repair from another source."
)
_NO_CHAIN: Final = (
    "The blocks of the source do not continue each other, so nothing was changed. Do not trust "
    "this source: repair from another one."
)


class VerifiedSource:
    """The blocks of a source, checked against each other and against the highest stored block."""

    def __init__(self, source: BlockSource, stored: tuple[int, bytes] | None) -> None:
        self._source, self._stored = source, stored
        self.name = source.name

    async def blocks(self, first: int, last: int) -> AsyncGenerator[UndecodedBlock, None]:
        """Yield the blocks of the source from `first` to `last` in order, as far as it has them.

        Blocks may be missing. Raises `ChainMismatchError` if they do not continue each other, or
        the stored block is another one.
        """
        newest = await self._source.newest()
        last = last if newest is None else min(last, newest.number)
        previous: UndecodedBlock | None = None
        async with aclosing(_delivered(self._source, first, last)) as delivered:
            async for each in delivered:
                if previous is not None and each.number <= previous.number:
                    continue
                block = read_block(each.data, each.name)
                self._check(block, previous)
                yield block
                previous = block

    def _check(self, block: UndecodedBlock, previous: UndecodedBlock | None) -> None:
        number = block.number
        follows = previous is not None and previous.number + 1 == number
        if follows and previous is not None and block.previous_hash != previous.hash:
            raise ChainMismatchError(
                number,
                "previous_hash",
                previous.hash.hex(),
                block.previous_hash.hex(),
                _NO_CHAIN,
            )
        if self._stored is not None and number == self._stored[0]:
            _compare(number, block.hash, self._stored[1])


async def verified_source(repairs: RepairStore, source: BlockSource, head: int) -> VerifiedSource:
    """Return the source, whose chain has the highest stored block that the source has too.

    `head` is the number of the highest stored block, -1 if there is none. Raises
    `ChainMismatchError` if source and store have no block in common.
    """
    if head < 0:
        return VerifiedSource(source, None)
    top = head
    newest = await source.newest()
    while True:
        top = top if newest is None else min(top, newest.number)
        stored = await repairs.highest_at_most(top)
        found = await _highest(source, stored["_id"]) if stored is not None else None
        if stored is None or found is None:
            raise ChainMismatchError(
                head,
                "number",
                "a block that is stored",
                f"none up to block {top}",
                f"{source.name} has no block that is stored, so it is not known whether source "
                "and store are the same chain. Nothing was changed. Give a source with these "
                "blocks.",
            )
        if found.number == stored["_id"]:
            block = read_block(found.data, found.name)
            _compare_with_document(block.hash, stored)
            return VerifiedSource(source, (block.number, block.hash))
        top = found.number


async def _highest(source: BlockSource, number: int) -> DeliveredBlock | None:
    """Return the highest block of the source up to a number, or None."""
    found: DeliveredBlock | None = None
    async with aclosing(_delivered(source, number, number, below=True)) as blocks:
        async for each in blocks:
            if found is None or each.number > found.number:
                found = each
    return found


async def _delivered(
    source: BlockSource, first: int, last: int, *, below: bool = False
) -> AsyncGenerator[DeliveredBlock, None]:
    """Yield what the source delivers up to block `last`, without what is below `first`."""
    if first > last:
        return
    async with aclosing(source.blocks(first, None)) as delivered:
        async for each in delivered:
            if each.number > last:
                return
            if each.number >= first or below:
                yield each
            if each.number == last:
                return


def _compare_with_document(expected: bytes, stored: Document) -> None:
    """Raise `ChainMismatchError` unless the block document is, or was, that of the block.

    Its hash, or else the hash that its header gives, must be the block's: a single field of the
    document may have been altered.
    """
    if stored.get("blockHash") != expected.hex():
        _compare(stored["_id"], expected, _header_hash(stored))


def _header_hash(stored: Document) -> bytes:
    try:
        previous, data = bytes.fromhex(stored["previousHash"]), bytes.fromhex(stored["dataHash"])
        return block_hash(stored["_id"], previous, data)
    except (KeyError, TypeError, ValueError):
        return b""


def _compare(number: int, expected: bytes, got: bytes) -> None:
    if expected != got:
        raise ChainMismatchError(
            number, "hash", f"{expected.hex()} (source)", f"{got.hex()} (stored)", _OTHER_CHAIN
        )
