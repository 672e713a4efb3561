"""Ledgers with what is needed to make the evidence of each of their transactions."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice

from msgspec import Struct

from devnet.forge.forger import Recipe, forge
from ledger.commit_hash import claimed_commit_hash
from ledger.decoding.blocks import decode_block, read_block
from ledger.decoding.config_blocks import is_config_block
from ledger.evidence.making import make_bundle, missing_values
from ledger.model import VALID, Block
from ledger.state_changes import StateKey
from tests.ledger.recorded import Name, recorded


class Position(Struct, frozen=True):
    """A transaction: its block, its index, and its validation code."""

    number: int
    index: int
    code: int


class EvidenceLedger:
    """A chain from its genesis block, or from another CONFIG block on."""

    def __init__(self, blocks: Sequence[bytes]) -> None:
        self.blocks = {read_block(raw).number: raw for raw in blocks}
        first, *_ = self.blocks.values()
        self.anchor_hash = read_block(first).hash
        self._configs = [n for n, raw in self.blocks.items() if is_config_block(read_block(raw))]

    def positions(self) -> Iterator[Position]:
        for number, raw in self.blocks.items():
            for index, code in enumerate(read_block(raw).codes):
                yield Position(number, index, code)

    def config_blocks(self, number: int) -> list[bytes]:
        """Return the CONFIG blocks below a block."""
        return [self.blocks[each] for each in self._configs if each < number]

    def commit_hash(self, number: int) -> bytes | None:
        """Return the commit hash that the peer has for a block, None if there is none."""
        raw = self.blocks.get(number)
        return claimed_commit_hash(read_block(raw)) or None if raw is not None else None

    def bundle(self, number: int, index: int) -> bytes:
        return make_bundle(
            self.config_blocks(number),
            self.blocks[number],
            index,
            previous_commit_hash=b"" if number == 1 else self.commit_hash(number - 1),
            earlier_values=self.earlier_values(number),
        )

    def earlier_values(self, number: int) -> dict[StateKey, bytes | None]:
        """Return the values before a block of the keys whose metadata alone it writes."""
        needed = missing_values(self.blocks[number])
        if not needed:
            return {}
        state: dict[StateKey, bytes | None] = {}
        for below in (raw for each, raw in self.blocks.items() if each < number):
            state |= _written(decode_block(read_block(below)))
        return {key: state.get(key) for key in needed}


def _written(block: Block) -> dict[StateKey, bytes | None]:
    """Return the values that the VALID transactions of a block leave, None for deleted keys."""
    state: dict[StateKey, bytes | None] = {}
    for transaction in block.transactions:
        if transaction.code != VALID or not transaction.actions:
            continue
        for rwset in transaction.actions[0].rwsets:
            space = rwset.namespace
            for write in rwset.writes:
                value = None if write.is_delete else write.value
                state[space, "", write.key.encode()] = value or None
            for collection in rwset.collections:
                for hashed in collection.writes:
                    value = None if hashed.is_delete else hashed.value_hash
                    state[space, collection.collection, hashed.key_hash] = value or None
    return state


@cache
def recorded_ledger(name: Name) -> EvidenceLedger:
    return EvidenceLedger(recorded(name).blocks)


@cache
def forged_ledger(blocks: int = 16, seed: int = 21) -> EvidenceLedger:
    """Return a forged chain with invalid and hostile envelopes."""
    recipe = Recipe(
        seed=seed, transactions_per_block=range(1, 9), invalid_share=0.2, hostile_share=0.3
    )
    return EvidenceLedger([block.data for block in islice(forge(recipe), blocks)])
