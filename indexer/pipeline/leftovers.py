"""Looks at what an interrupted run, or another chain, has left in a channel's database."""

from collections.abc import Sequence
from typing import Final

import structlog
from pymongo.errors import PyMongoError

from indexer.pipeline.chain import Chain
from ledger.errors import SurplusDocumentsError
from ledger.mongodb.leftovers import check_committed_surplus, uncommitted_documents
from ledger.mongodb.store import LedgerStore

log = structlog.get_logger()

_CHECKED_BLOCKS: Final = 1_000
"""The number of the highest committed blocks whose documents are counted at the start."""


async def inspect_leftovers(store: LedgerStore, chain: Chain) -> None:
    """Count the documents of the highest committed blocks, and log what lies above them.

    Documents above them are normal after a crash: they are compared when their blocks come. Raises
    `SurplusDocumentsError` if a committed block has more documents than it counts.
    """
    if chain.tip is not None:
        first = max(chain.first, chain.tip.number + 1 - _CHECKED_BLOCKS)
        await check_committed_surplus(store.database, first, chain.tip.number)
    uncommitted = await uncommitted_documents(store.database, chain.next_number)
    if uncommitted:
        log.info(
            "uncommitted_documents",
            channel=chain.channel,
            height=chain.next_number,
            transactions=uncommitted.transactions,
            events=uncommitted.events,
            highest_block=uncommitted.highest_block,
        )


async def describe_leftovers(store: LedgerStore, numbers: Sequence[int]) -> str:
    """Return a sentence that says what a run that met a conflict may have left in the store.

    `numbers` are the blocks that were accepted, and not recorded as committed. If another program
    has committed a block of one of these numbers, readers may see the documents of this run there.
    """
    if not numbers:
        return "This run has left no documents of uncommitted blocks."
    first, last = min(numbers), max(numbers)
    left = f"Documents that this run wrote for blocks {first} to {last} may remain in the database"
    try:
        await check_committed_surplus(store.database, first, last)
    except SurplusDocumentsError as surplus:
        return (
            f"{left}; some lie in committed blocks, where readers see them, for example in block "
            f"{surplus.block}: {surplus.collection} {', '.join(map(str, surplus.positions))}."
        )
    except PyMongoError:
        return f"{left}."
    return f"{left}; none was found in a committed block. `kindledger repair` shows them."
