"""The steps of the pipeline that compute: they check, encode and compress blocks, in a thread."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from msgspec import Struct

from indexer.sources.block_source import DeliveredBlock
from ledger.block_encoder import BlockEncoder, ClaimedBlock
from ledger.decoding.blocks import UndecodedBlock
from ledger.documents.encoding import EncodedBlock
from ledger.errors import LedgerError
from ledger.ownership import decide_owners

_SMALL_BYTES: Final = 64 << 10
"""The size of blocks up to which they are processed without a thread."""
T = TypeVar("T")


class NewBlock(Struct, frozen=True):
    """A block that continues the chain, with its bytes as the source delivered them."""

    claimed: ClaimedBlock
    data: bytes | memoryview

    @property
    def number(self) -> int:
        """The block's number."""
        return self.claimed.number


class PreparedBlock(Struct, frozen=True):
    """A block that is ready to be written: its documents, and its compressed bytes.

    `frame` is None if raw blocks are not kept.
    """

    documents: EncodedBlock
    frame: bytes | None

    @property
    def size(self) -> int:
        """The number of bytes to write."""
        return self.documents.size + len(self.frame or b"")


class EncodingSteps(Struct, frozen=True):
    """What is done with each block: its signatures are checked, it is encoded and compressed.

    `check_signatures` and `compress` are None if this is not done.
    """

    encoder: BlockEncoder
    check_signatures: Callable[[UndecodedBlock], None] | None
    compress: Callable[[bytes | memoryview], bytes] | None


async def compute(function: Callable[[], T], size: int) -> T:
    """Return the result of a function that processes blocks of `size` bytes.

    It runs in a thread, so that the event loop stays responsive. For small blocks a change of
    threads takes longer than the function.
    """
    return function() if size <= _SMALL_BYTES else await asyncio.to_thread(function)


def check_blocks(
    encoder: BlockEncoder, chunk: Sequence[DeliveredBlock], next_number: int
) -> tuple[list[tuple[UndecodedBlock, ClaimedBlock | None]], LedgerError | None]:
    """Check each block by itself, up to the first corrupt one.

    Return with those from `next_number` on the ids that their envelopes claim. Return also the
    error of the corrupt block.
    """
    checked: list[tuple[UndecodedBlock, ClaimedBlock | None]] = []
    try:
        for delivered in chunk:
            undecoded = encoder.read(delivered.data, delivered.name)
            is_new = undecoded.number >= next_number
            checked.append((undecoded, encoder.claims(undecoded) if is_new else None))
    except LedgerError as error:
        return checked, error
    return checked, None


def encode_blocks(
    steps: EncodingSteps, blocks: Sequence[NewBlock], owned_below: set[str], digest: bytes
) -> tuple[list[tuple[PreparedBlock, dict[str, int]]], LedgerError | None]:
    """Check signatures, decide ownership in ascending order, encode, and compress.

    Return with each block the ids that it owns, each with the index of its owner. `owned_below`
    holds the ids that lower blocks own, as far as these blocks have them; the ids that these blocks
    own are added. `digest` is the digest of the block before. Return also the error that ended the
    encoding.
    """
    prepared: list[tuple[PreparedBlock, dict[str, int]]] = []
    try:
        for block in blocks:
            claimed = block.claimed
            if steps.check_signatures is not None:
                steps.check_signatures(claimed.undecoded)
            owners = decide_owners(claimed, owned_below)
            claims = enumerate(zip(claimed.claims, owners, strict=True))
            owned_ids = {claim.tx_id: index for index, (claim, is_owner) in claims if is_owner}
            owned_below.update(owned_ids)
            encoded = steps.encoder.encode(claimed, owners, digest)
            digest = encoded.digest
            frame = steps.compress(block.data) if steps.compress is not None else None
            prepared.append((PreparedBlock(encoded, frame), owned_ids))
    except LedgerError as error:
        return prepared, error
    return prepared, None
