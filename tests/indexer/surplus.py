"""Blocks of a lying peer: they are consistent in themselves, and have a transaction too many."""

from ledger.hashes import data_hash
from protos.common_pb2 import COMMIT_HASH, TRANSACTIONS_FILTER, Block


def with_surplus(serialized: bytes, later: bytes) -> bytes:
    """Return the block with one more VALID envelope, the last one of the block `later`.

    The data hash is that of the changed data, as a peer can compute it.
    """
    block, other = Block.FromString(serialized), Block.FromString(later)
    block.data.data.append(other.data.data[-1])
    block.header.data_hash = data_hash(block.data.data)
    block.metadata.metadata[TRANSACTIONS_FILTER] += b"\x00"
    block.metadata.metadata[COMMIT_HASH] = b""  # it would tell
    return block.SerializeToString()
