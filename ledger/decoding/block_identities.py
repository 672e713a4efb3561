"""What peers must agree on about a block, read from a block with or without its envelopes.

A peer sends a block without envelopes to a client that asks for `HEADER_WITH_SIG` (Fabric from 3.0
on; earlier peers send whole blocks). Its header has the hash of the envelopes.
"""

from typing import Final

from google.protobuf.message import DecodeError
from msgspec import Struct

from ledger import hashes
from ledger.decoding.fields import length_delimited_fields, repeated_values
from ledger.errors import CorruptBlockError
from ledger.position import MAX_BLOCK_NUMBER, MAX_TRANSACTIONS
from protos import common_pb2 as common

_HEADER, _METADATA = 1, 3
"""The numbers of the fields of `common.Block`; `data` is not read."""

_METADATA_ENTRIES: Final = 5
_COMMIT_HASH_BYTES: Final = 32


class BlockIdentity(Struct, frozen=True):
    """The parts of a block that are equal on all peers: hashes in hexadecimal digits, and codes.

    `commit_hash` is None for a peer that has none: it did not commit the channel from its genesis
    block on with Fabric 2 or later.
    """

    number: int
    hash: str
    codes: bytes
    commit_hash: str | None


def read_identity(block_bytes: bytes | memoryview, name: str) -> BlockIdentity:
    """Return the identity of a serialized `common.Block`, in the form in which peers write it.

    The envelopes are not read. Raises `CorruptBlockError`, which calls the bytes by `name`, for
    bytes of any other form, and for a number or codes that no block can have.
    """
    fields = length_delimited_fields(memoryview(block_bytes)) or {}
    entries = repeated_values(fields.get(_METADATA, memoryview(b"")), 1, _METADATA_ENTRIES)
    try:
        header = common.BlockHeader.FromString(bytes(fields.get(_HEADER, b"")))
    except DecodeError:
        header = None
    if header is None or entries is None or _HEADER not in fields:
        raise CorruptBlockError(
            None, name, "a serialized common.Block", f"{len(block_bytes)} bytes of another form"
        )
    number = header.number
    if number > MAX_BLOCK_NUMBER:
        raise CorruptBlockError(number, "header.number", f"at most {MAX_BLOCK_NUMBER}", number)
    entries += [b""] * (_METADATA_ENTRIES - len(entries))
    codes = entries[common.TRANSACTIONS_FILTER]
    if not 0 < len(codes) <= MAX_TRANSACTIONS:
        raise CorruptBlockError(
            number,
            "metadata.TRANSACTIONS_FILTER",
            f"1 to {MAX_TRANSACTIONS} validation codes",
            f"{len(codes)} codes",
        )
    return BlockIdentity(
        number=number,
        hash=hashes.block_hash(number, header.previous_hash, header.data_hash).hex(),
        codes=codes,
        commit_hash=_commit_hash(number, entries[common.COMMIT_HASH]),
    )


def _commit_hash(number: int, entry: bytes) -> str | None:
    """Return the only field of the entry, a `common.Metadata`; None if the entry is empty."""
    fields = length_delimited_fields(memoryview(entry))
    value = bytes(fields.get(1, b"")) if fields is not None else entry
    if fields is None or len(value) not in (0, _COMMIT_HASH_BYTES):
        raise CorruptBlockError(
            number,
            "metadata.COMMIT_HASH",
            f"a common.Metadata with {_COMMIT_HASH_BYTES} bytes, or nothing",
            f"{len(entry)} bytes of another form",
        )
    return value.hex() or None
