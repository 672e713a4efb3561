"""Decides whether a block belongs to the chain that is stored."""

from ledger.decoding.blocks import UndecodedBlock
from ledger.errors import ChainMismatchError
from ledger.model import VALID, Block
from ledger.mongodb.store import StoredBlock

_FORK = (
    "The source and the stored ledger are different chains: the channel was reset, the peer was rebuilt, blocks were "
    "changed, or the files are of two channels. Neither this block nor what follows was written. Find out which chain "
    "is right before indexing goes on; `kindledger verify` checks the stored side."
)
_GAP = (
    "Blocks are missing in between; nothing beyond the gap was written. Provide them, or, for a ledger that begins "
    "later on purpose, index into an empty database with --start."
)
_WRONG_CHANNEL = "The source delivers another channel's blocks, which were not written. Check the channel's peers or files."


class Chain:
    """The chain as far as it is accepted: stored, or on its way into the store."""

    def __init__(self, channel: str, first: int, tip: StoredBlock | None) -> None:
        self.channel = channel
        self.first = first
        self.tip = tip

    @property
    def next_number(self) -> int:
        """Number of the block that is wanted next."""
        return self.first if self.tip is None else self.tip.number + 1

    def extend(self, frame: UndecodedBlock, block: Block) -> None:
        """Accepts the next block. Raises `ChainMismatchError` if it is not the next one of this chain."""
        if frame.number != self.next_number:
            raise ChainMismatchError(
                frame.number,
                "number",
                self.next_number,
                frame.number,
                _GAP,
            )
        for claim, code in zip(block.claims, block.codes, strict=True):
            if code == VALID and claim.channel_id != self.channel:
                raise ChainMismatchError(
                    frame.number,
                    "channel_id",
                    repr(self.channel),
                    repr(claim.channel_id),
                    _WRONG_CHANNEL,
                )
        if self.tip is not None and frame.previous_hash != self.tip.hash:
            raise ChainMismatchError(
                frame.number, "previous_hash", self.tip.hash.hex(), frame.previous_hash.hex(), _FORK
            )
        if frame.number == 0 and frame.previous_hash:
            raise ChainMismatchError(
                0, "previous_hash", "none, as in a genesis block", frame.previous_hash.hex(), _FORK
            )
        self.tip = StoredBlock(frame.number, frame.hash, frame.codes)


def compare_known(frame: UndecodedBlock, known: StoredBlock) -> None:
    """Raises `ChainMismatchError` unless the delivered block is the one that is known.

    Header hashes and validation codes are compared, never bytes: peers may hold different signatures.
    """
    if frame.hash != known.hash:
        raise ChainMismatchError(frame.number, "hash", known.hash.hex(), frame.hash.hex(), _FORK)
    if frame.codes != known.codes:
        raise ChainMismatchError(
            frame.number, "validation codes", known.codes.hex(), frame.codes.hex(), _FORK
        )
