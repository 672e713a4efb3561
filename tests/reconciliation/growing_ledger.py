"""A forged chain, and a ledger in MongoDB to which its blocks are added one after another."""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import islice

from msgspec import Struct

from devnet.forge.forger import ForgedBlock, Recipe, forge
from indexer.progress.channel_progress import ChannelProgress
from ledger.decoding.blocks import decode_block, read_block
from ledger.documents.digests import NO_DIGEST
from ledger.documents.encoding import encode_block
from ledger.model import VALID
from ledger.mongodb.store import LedgerStore
from ledger.ownership import decide_owners
from ledger.position import Height

CHANNEL = "kindledger"


class SubmittedTransaction(Struct, frozen=True):
    """A transaction as a client submitted it, and the outcome of the envelope that owns its id."""

    tx_id: str
    function: str
    args: tuple[str, ...]
    valid: bool
    block: int

    @property
    def state(self) -> str:
        """The state that a row with this id must reach."""
        return "CONFIRMED" if self.valid else "FAILED"


@cache
def forged_chain(
    height: int = 60, seed: int = 7, hostile_share: float = 0.05
) -> tuple[ForgedBlock, ...]:
    """Return a chain with many transactions that fail."""
    recipe = Recipe(
        seed=seed,
        transactions_per_block=range(1, 9),
        invalid_share=0.3,
        hostile_share=hostile_share,
        signed=False,
    )
    return tuple(islice(forge(recipe), height))


def submitted(blocks: Iterable[ForgedBlock], *functions: str) -> list[SubmittedTransaction]:
    """Return the transactions of these functions, each id once; the owner is decided naively."""
    owners: dict[str, SubmittedTransaction] = {}
    for block in blocks:
        owners_in_block: dict[str, SubmittedTransaction] = {}
        for submission in block.submissions:
            tx_id, function = submission.tx_id, submission.function
            if tx_id and function:
                valid = submission.code == VALID
                transaction = SubmittedTransaction(
                    tx_id, function, submission.args, valid, block.number
                )
                if tx_id not in owners_in_block or valid:
                    owners_in_block[tx_id] = transaction
        owners = owners_in_block | owners
    return [each for each in owners.values() if not functions or each.function in functions]


class GrowingLedger:
    """A ledger in MongoDB to which blocks are added as the indexer adds them."""

    def __init__(self, store: LedgerStore) -> None:
        self.store = store
        self.progress = ChannelProgress(CHANNEL, time.monotonic, lambda: datetime.now(UTC))
        self._owned_ids: set[str] = set()
        self._digest = NO_DIGEST

    async def commit(self, blocks: Sequence[ForgedBlock]) -> None:
        """Store the blocks, and report them as committed."""
        encoded = []
        for forged in blocks:
            block = decode_block(read_block(forged.data))
            owns = decide_owners(block, self._owned_ids)
            self._owned_ids |= {
                claim.tx_id for claim, owner in zip(block.claims, owns, strict=True) if owner
            }
            encoded.append(encode_block(block, owns, self._digest))
            self._digest = encoded[-1].digest
        await self.store.insert_transactions(encoded)
        await self.store.insert_events(encoded)
        await self.store.insert_blocks(encoded)
        self.report_height(blocks[-1].number + 1)

    def report_height(self, height: int) -> None:
        """Report that every block below `height` is committed, and that the peer has no other."""
        self.progress.record_peer_height(Height(height))
        self.progress.record_commit(
            Height(height), blocks=0, transactions=0, events=0, undecodable=0
        )
