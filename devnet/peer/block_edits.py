"""Edits that damage a serialized block: each returns a function from valid to damaged bytes."""

from typing import Literal

from devnet.peer.faults import Edit
from protos.common_pb2 import TRANSACTIONS_FILTER, Block


def flip_header(field: Literal["number", "previous_hash", "data_hash"]) -> Edit:
    """Return the edit that flips the lowest bit of a header field.

    An empty previous hash becomes one zero byte.
    """

    def edit(serialized: bytes) -> bytes:
        block = Block.FromString(serialized)
        if field == "number":
            block.header.number ^= 1
        else:
            setattr(block.header, field, _flip_first_bit(getattr(block.header, field) or b"\x01"))
        return block.SerializeToString()

    return edit


def flip_envelope(index: int) -> Edit:
    """Return the edit that flips one bit in the middle of an envelope, without changing its length.

    The edit raises IndexError if the block has no such envelope.
    """

    def edit(serialized: bytes) -> bytes:
        block = Block.FromString(serialized)
        envelope = block.data.data[index]
        middle = len(envelope) // 2
        block.data.data[index] = envelope[:middle] + _flip_first_bit(envelope[middle:])
        return block.SerializeToString()

    return edit


def drop_envelope(index: int) -> Edit:
    """Return the edit that removes one envelope and changes nothing else.

    The edit raises IndexError if the block has no such envelope.
    """

    def edit(serialized: bytes) -> bytes:
        block = Block.FromString(serialized)
        del block.data.data[index]
        return block.SerializeToString()

    return edit


def resize_filter(change: int) -> Edit:
    """Return the edit that adds `change` codes VALID, or removes codes if `change` is negative."""

    def edit(serialized: bytes) -> bytes:
        block = Block.FromString(serialized)
        codes = block.metadata.metadata[TRANSACTIONS_FILTER]
        block.metadata.metadata[TRANSACTIONS_FILTER] = codes[: len(codes) + change] + bytes(
            max(change, 0)
        )
        return block.SerializeToString()

    return edit


def truncate(missing: int) -> Edit:
    """Return the edit that removes the last `missing` bytes of the serialized block."""
    return lambda serialized: serialized[:-missing]


def without_metadata(serialized: bytes) -> bytes:
    """Return the block without its metadata."""
    block = Block.FromString(serialized)
    block.ClearField("metadata")
    return block.SerializeToString()


def _flip_first_bit(value: bytes) -> bytes:
    return bytes((value[0] ^ 1,)) + value[1:]
