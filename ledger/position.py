"""The position of an envelope on the chain as one integer, made of block number and index.

Positions increase along the chain, and fit a signed 64-bit integer, MongoDB's largest.
"""

from typing import Final, NewType

from bson.int64 import Int64

BlockNumber = NewType("BlockNumber", int)
"""The number of a block; the genesis block has 0."""

Height = NewType("Height", int)
"""A number of blocks, counted from block 0: the number of the highest block plus one."""

INDEX_BITS: Final = 20
"""The bits of a position that hold the envelope's index in its block."""

MAX_INDEX: Final = (1 << INDEX_BITS) - 1
"""The highest index of an envelope in its block."""

MAX_BLOCK_NUMBER: Final = (1 << (63 - INDEX_BITS)) - 1
"""The highest block number whose positions fit a signed 64-bit integer."""

MAX_TRANSACTIONS: Final = MAX_INDEX + 1
"""The largest number of envelopes in a block."""


def pack_position(number: int, index: int) -> Int64:
    """Return the position of the envelope at `index` in block `number`."""
    return Int64(number << INDEX_BITS | index)


def unpack_position(position: int) -> tuple[BlockNumber, int]:
    """Return the block number and the envelope's index of a position."""
    return BlockNumber(position >> INDEX_BITS), position & MAX_INDEX


def last_position(number: int) -> Int64:
    """Return the highest position that an envelope of block `number` can have."""
    return pack_position(number, MAX_INDEX)


def height_above(number: int) -> Height:
    """Return the height of a ledger whose highest block has this number."""
    return Height(number + 1)


def highest_block_below(height: int) -> BlockNumber:
    """Return the number of the highest block below `height`; -1 for height 0."""
    return BlockNumber(height - 1)
