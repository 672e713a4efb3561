"""Checks whether delivered blocks belong to the stored chain."""

from typing import Final

from ledger.block_encoder import ClaimedBlock
from ledger.commit_hash import claimed_commit_hash
from ledger.decoding.blocks import UndecodedBlock
from ledger.errors import ChainMismatchError
from ledger.model import VALID
from ledger.mongodb.stored_blocks import StoredBlock
from ledger.position import BlockNumber

_FORK: Final = (
    "The source and the stored ledger are different chains. Possible causes: the channel was "
    "created again, the peer was rebuilt with other data, blocks were changed, or the files are of "
    "two channels. This block and the blocks after it were not stored. Find out which chain is "
    "right before you continue; `kindledger verify` checks the stored ledger."
)
_GAP: Final = (
    "Blocks are missing in between. No block after the gap was stored. Provide the missing blocks. "
    "If the stored ledger shall begin at a later block, index into an empty database, with --start "
    "(import) or start_block (daemon)."
)
_WRONG_CHANNEL: Final = (
    "The source delivers blocks of another channel; they were not stored. Check which peers or "
    "files are configured for this channel."
)


class Chain:
    """The accepted chain: the stored blocks and the blocks that are about to be stored."""

    def __init__(self, channel: str, first: BlockNumber, tip: StoredBlock | None) -> None:
        self.channel = channel
        self.first = first
        self.tip = tip
        """The highest accepted block; None if there is none."""

    @property
    def next_number(self) -> BlockNumber:
        """The number of the next block of the chain."""
        return self.first if self.tip is None else BlockNumber(self.tip.number + 1)

    def extend(self, block: ClaimedBlock) -> StoredBlock:
        """Accept a block and return what identifies it.

        Raises `ChainMismatchError` if it is not the next block of this chain.
        """
        undecoded = block.undecoded
        number, previous_hash = undecoded.number, undecoded.previous_hash
        if number != self.next_number:
            raise ChainMismatchError(number, "number", self.next_number, number, _GAP)
        for claim, code in zip(block.claims, block.codes, strict=True):
            if code == VALID and claim.channel_id != self.channel:
                raise ChainMismatchError(
                    number,
                    "channel_id",
                    repr(self.channel),
                    repr(claim.channel_id),
                    _WRONG_CHANNEL,
                )
        if self.tip is not None and previous_hash != self.tip.hash:
            raise ChainMismatchError(
                number, "previous_hash", self.tip.hash.hex(), previous_hash.hex(), _FORK
            )
        if number == 0 and previous_hash:
            raise ChainMismatchError(
                number, "previous_hash", "none, as in a genesis block", previous_hash.hex(), _FORK
            )
        self.tip = identify(undecoded)
        return self.tip


def identify(block: UndecodedBlock) -> StoredBlock:
    """Return what identifies a block. Raises `CorruptBlockError`, see `claimed_commit_hash`."""
    return StoredBlock(block.number, block.hash, block.codes, claimed_commit_hash(block))


def compare_redelivered(undecoded: UndecodedBlock, accepted: StoredBlock) -> None:
    """Raise `ChainMismatchError` unless a delivered block equals the accepted block of its number.

    Header hashes, validation codes and, if both have one, commit hashes are compared. The bytes may
    differ, because each peer may hold other signatures of the same block.
    """
    if undecoded.hash != accepted.hash:
        raise ChainMismatchError(
            undecoded.number, "hash", accepted.hash.hex(), undecoded.hash.hex(), _FORK
        )
    if undecoded.codes != accepted.codes:
        raise ChainMismatchError(
            undecoded.number,
            "validation codes",
            accepted.codes.hex(),
            undecoded.codes.hex(),
            _FORK,
        )
    commit_hash = claimed_commit_hash(undecoded)
    if commit_hash and accepted.commit_hash and commit_hash != accepted.commit_hash:
        raise ChainMismatchError(
            undecoded.number,
            "commit hash",
            accepted.commit_hash.hex(),
            commit_hash.hex(),
            _FORK,
        )
