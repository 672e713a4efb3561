"""Where an envelope stands on the chain, as one number: its block's number and its index in that block.

Positions are in the order of the chain and fit a signed 64-bit integer, MongoDB's largest.
"""

from typing import Final, NewType

from bson.int64 import Int64

BlockNumber = NewType("BlockNumber", int)
"""The number of a block, from 0."""

Height = NewType("Height", int)
"""A number of blocks, counted from block 0: the highest block's number plus one."""

INDEX_BITS: Final = 20

MAX_INDEX: Final = (1 << INDEX_BITS) - 1
"""The highest index of an envelope in its block."""

MAX_BLOCK_NUMBER: Final = (1 << (63 - INDEX_BITS)) - 1
"""The highest block number of which every position fits a signed 64-bit integer."""

MAX_TRANSACTIONS: Final = MAX_INDEX + 1
"""The most envelopes that a block may have."""


def pack_position(number: int, index: int) -> Int64:
    """Return the position of the envelope at `index` in block `number`."""
    return Int64(number << INDEX_BITS | index)


def unpack_position(position: int) -> tuple[int, int]:
    """Return the block's number and the envelope's index."""
    return position >> INDEX_BITS, position & MAX_INDEX


def highest_block_below(height: int) -> BlockNumber:
    """Return the number of the highest block below `height`; -1 below height 0."""
    return BlockNumber(height - 1)
