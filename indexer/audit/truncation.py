"""Cuts off the highest blocks of a stored ledger, for the case that another chain was committed."""

from collections.abc import Callable
from contextlib import aclosing

from msgspec import Struct

from ledger.errors import LedgerError
from ledger.mongodb.repairs import Act, Change, RepairStore
from ledger.position import BlockNumber


class NothingToKeepError(LedgerError):
    """The ledger does not have the block that shall become its highest one."""

    def __init__(self, number: int, stored: tuple[int, int] | None) -> None:
        has = f"blocks {stored[0]} to {stored[1]} are stored" if stored else "no block is stored"
        super().__init__(
            f"block {number} cannot become the highest block: {has}. Nothing was changed. To "
            "remove the whole ledger, drop its database."
        )


class Truncation(Struct, frozen=True, rename="camel"):
    """What a truncation cuts off: the blocks above `last`, up to block `highest`.

    `last_hash` is the hash of block `last`, which becomes the highest one.
    """

    last: BlockNumber
    highest: int
    last_hash: str


async def plan_truncation(repairs: RepairStore, number: int) -> Truncation:
    """Return what a truncation to block `number` cuts off. Raises `NothingToKeepError`."""
    stored = await repairs.lowest_and_highest()
    kept = await repairs.highest_at_most(number)
    if stored is None or kept is None or kept["_id"] != number:
        raise NothingToKeepError(number, stored)
    return Truncation(BlockNumber(number), stored[1], str(kept.get("blockHash")))


async def truncate(repairs: RepairStore, plan: Truncation, advance: Callable[[int], None]) -> int:
    """Remove the blocks above the last one; return the number of removed documents.

    Block documents are removed first, from the top down: if the process is killed, the blocks that
    remain are complete, and the rest lies above them, where no reader sees it. Then a repetition
    removes the rest. The inventory of certificates is removed as a whole: the daemon makes it
    again.
    """
    removed = 0
    async with aclosing(repairs.blocks_from_the_top(plan.last)) as chunks:
        async for name, blocks in chunks:
            await repairs.remove([Change(Act.REMOVE, name, d["_id"], d) for d in blocks])
            removed += len(blocks)
            advance(blocks[-1]["_id"])
    first = plan.last + 1
    for rest in (repairs.certificates(), repairs.verdicts(first), repairs.above(first)):
        async with aclosing(rest) as others:
            async for name, documents in others:
                await repairs.remove([Change(Act.REMOVE, name, d["_id"], d) for d in documents])
                removed += len(documents)
    return removed
