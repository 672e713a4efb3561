"""Fabric's commit hash: a running hash over the validation codes and all changes of the state.

Each peer computes it for itself when it commits a block (`addBlockCommitHash` in Fabric's kvledger)
and stores it in the block's metadata. It is not signed. Two peers with the same commit hash gave
the same codes to the same transactions, from the first block on.
"""

from hashlib import sha256
from typing import Final

from ledger.decoding.blocks import UndecodedBlock
from ledger.errors import CorruptBlockError
from ledger.state_changes import varint
from protos import common_pb2 as common

_HEAD: Final = b"\x0a\x20"
"""The beginning of `common.Metadata` with a value of 32 bytes and nothing else."""

_SIZE: Final = 34


def commit_hash(codes: bytes, updates: bytes, previous: bytes) -> bytes:
    """Return the commit hash of a block.

    `updates` are the serialized changes of the state, see `ledger.state_changes`. `previous` is the
    commit hash of the block before, which the genesis block does not have: b"" for block 1.
    """
    return sha256(varint(len(codes)) + codes + updates + previous).digest()


def claimed_commit_hash(block: UndecodedBlock) -> bytes:
    """Return the commit hash in a block's metadata, b"" if there is none.

    There is none in the genesis block, in the blocks of an orderer, and in those that a peer
    committed before it had Fabric 2. Raises `CorruptBlockError` when the entry is none of a peer.
    """
    entry = block.metadata[common.COMMIT_HASH] if len(block.metadata) > common.COMMIT_HASH else b""
    if not entry:
        return b""
    if len(entry) != _SIZE or not entry.startswith(_HEAD):
        raise CorruptBlockError(
            block.number, "metadata.COMMIT_HASH", "a hash of 32 bytes, or nothing", entry[:64].hex()
        )
    return entry[len(_HEAD) :]
