"""Ways to damage a serialized block: each takes the bytes of a good one and gives those of a bad one."""

from typing import Literal

from devnet.peer.faults import Edit
from protos.common_pb2 import TRANSACTIONS_FILTER, Block


def flip_header(field: Literal["number", "previous_hash", "data_hash"]) -> Edit:
    """Flip the lowest bit of a field of the header; an empty previous hash becomes one zero byte."""

    def edit(serialized: bytes) -> bytes:
        block = Block.FromString(serialized)
        if field == "number":
            block.header.number ^= 1
        else:
            setattr(block.header, field, _flipped(getattr(block.header, field) or b"\x01"))
        return block.SerializeToString()

    return edit


def flip_envelope(index: int) -> Edit:
    """Flip one bit in the middle of one envelope; its length stays. IndexError if the block has no such envelope."""

    def edit(serialized: bytes) -> bytes:
        block = Block.FromString(serialized)
        envelope = block.data.data[index]
        middle = len(envelope) // 2
        block.data.data[index] = envelope[:middle] + _flipped(envelope[middle:])
        return block.SerializeToString()

    return edit


def drop_envelope(index: int) -> Edit:
    """Take one envelope out of the data, and nothing else. IndexError if the block has no such envelope."""

    def edit(serialized: bytes) -> bytes:
        block = Block.FromString(serialized)
        del block.data.data[index]
        return block.SerializeToString()

    return edit


def resize_filter(change: int) -> Edit:
    """Make the list of validation codes longer by some codes VALID, or shorter (negative)."""

    def edit(serialized: bytes) -> bytes:
        block = Block.FromString(serialized)
        codes = block.metadata.metadata[TRANSACTIONS_FILTER]
        block.metadata.metadata[TRANSACTIONS_FILTER] = codes[: len(codes) + change] + bytes(
            max(change, 0)
        )
        return block.SerializeToString()

    return edit


def truncate(missing: int) -> Edit:
    """Cut some bytes off the end of the serialized block."""
    return lambda serialized: serialized[:-missing]


def without_metadata(serialized: bytes) -> bytes:
    """Leave the block's metadata out, as if it had none."""
    block = Block.FromString(serialized)
    block.ClearField("metadata")
    return block.SerializeToString()


def _flipped(value: bytes) -> bytes:
    return bytes((value[0] ^ 1,)) + value[1:]
