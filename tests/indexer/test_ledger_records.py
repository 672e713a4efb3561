"""The records of a peer's ledger file: read exactly, and refused clearly whatever is wrong."""

import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devnet.peer.ledger_files import ledger_record
from devnet.wire_format import varint
from indexer.sources.ledger_records import (
    BlockRecord,
    BrokenRecordError,
    TornRecordError,
    read_records,
)
from ledger.decoding.blocks import read_block
from ledger.errors import CorruptBlockError
from protos.common_pb2 import Block
from tests.indexer.network import TRUNK
from tests.ledger.recorded import NAMES, Name, recorded

CHAIN = TRUNK[:8]
RECORDS = tuple(map(ledger_record, CHAIN))
FILE = b"".join(RECORDS)


def read(
    content: bytes, expected: int | None = 0
) -> tuple[list[BlockRecord], BrokenRecordError | None]:
    """Return the records of a file, and the error at which they end."""
    records = []
    try:
        for record in read_records(io.BytesIO(content), expected):
            records.append(record)  # noqa: PERF402 - those before an error are kept
    except BrokenRecordError as error:
        return records, error
    return records, None


def blocks(records: Sequence[BlockRecord]) -> tuple[bytes, ...]:
    return tuple(record.block for record in records)


@pytest.mark.parametrize("name", NAMES)
def test_the_blocks_are_those_that_the_peer_delivered(name: Name) -> None:
    content = b"".join(map(ledger_record, recorded(name).blocks))
    records, error = read(content, None)
    assert (blocks(records), error) == (recorded(name).blocks, None)
    assert [content[record.offset : record.end] for record in records] == list(
        map(ledger_record, recorded(name).blocks)
    )


@pytest.mark.parametrize("expected", [0, None])
def test_a_file_that_ends_at_any_byte_of_its_last_record_gives_all_blocks_before(
    expected: int | None,
) -> None:
    last = len(CHAIN) - 1
    begin = len(FILE) - len(RECORDS[-1])
    for size in range(begin, len(FILE)):
        records, error = read(FILE[:size], expected)
        assert blocks(records) == CHAIN[:-1]
        if size == begin:
            assert error is None
        else:
            assert isinstance(error, TornRecordError)
            assert (error.offset, error.block) == (begin, last)


@given(st.binary(max_size=300), st.integers(0, len(CHAIN)))
def test_any_bytes_end_in_an_error_after_the_blocks_before_them(rest: bytes, after: int) -> None:
    records, error = read(b"".join(RECORDS[:after]) + rest)
    assert blocks(records)[:after] == CHAIN[:after]
    if rest and len(records) == after:
        assert error is not None


def check(block_bytes: bytes) -> tuple[bytes, bytes] | None:
    """Return the hashes that the pipeline compares; None for a block that it refuses."""
    try:
        block = read_block(block_bytes)
    except CorruptBlockError:
        return None
    return block.previous_hash, block.hash


HASHES = [check(block) for block in CHAIN]


@given(st.integers(0, len(FILE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_found(position: int, mask: int) -> None:
    """By the reader, or by the hashes; only metadata, which no hash covers, can differ."""
    changed = bytearray(FILE)
    changed[position] ^= mask
    records, error = read(bytes(changed))
    for record, original, hashes in zip(records, CHAIN, HASHES, strict=False):
        if check(record.block) != hashes:
            return  # the pipeline refuses the block, or the block after it
        block = Block.FromString(record.block)
        block.metadata.CopyFrom(Block.FromString(original).metadata)
        assert block.SerializeToString() == original
    assert len(records) == len(CHAIN) or error is not None
    assert not isinstance(error, TornRecordError), "a changed byte looks like an unfinished block"


NO_HASHES = varint(0) + varint(0)
ENDLESS = b"\xff" * 10
BROKEN = {
    "no content": (varint(0), "need more than the record's 0 bytes"),
    "an endless length": (ENDLESS, "ffffffffff is no length"),
    "a length of gigabytes": (varint(2 << 30) + bytes(99), "is no length"),
    "a length in a longer form": (b"\x85\x00" + bytes(5), "8500 is no length"),
    "zeros": (varint(99) + bytes(99), "the record is that of block 0"),
    "an endless number": (varint(99) + ENDLESS + bytes(89), "are no number"),
    "a number over 63 bits": (varint(99) + varint(2**63) + bytes(89), "that of block 9223372036"),
    "another number": (varint(9) + varint(1) + bytes(8), "that of block 1"),
    "a hash of another size": (varint(9) + varint(7) + varint(31) + bytes(7), "hash of 31 bytes"),
    "too many envelopes": (
        varint(99) + varint(7) + NO_HASHES + varint(1 << 21) + bytes(92),
        "2097152 envelopes are declared",
    ),
    "more envelopes than bytes": (
        varint(7) + varint(7) + NO_HASHES + varint(999_999) + varint(0),
        "need more than the record's 7 bytes",
    ),
    "an envelope over the end": (
        varint(7) + varint(7) + NO_HASHES + varint(1) + varint(1 << 20),
        "need more than the record's 7 bytes",
    ),
    "too much metadata": (
        varint(99) + varint(7) + NO_HASHES + varint(0) + varint(101) + bytes(94),
        "101 metadata entries are declared",
    ),
    "bytes behind the block": (
        varint(6) + varint(7) + NO_HASHES + varint(0) + varint(0) + b"x",
        "the block ends after 5 of the record's 6 bytes",
    ),
}


@pytest.mark.parametrize(("record", "reason"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("rest", [b"", RECORDS[7]], ids=["last", "followed"])
def test_a_broken_record_is_no_unfinished_one(record: bytes, reason: str, rest: bytes) -> None:
    before = b"".join(RECORDS[:7])
    records, error = read(before + record + rest)
    assert blocks(records) == CHAIN[:7]
    assert error is not None
    assert not isinstance(error, TornRecordError), error
    assert (error.offset, error.block, reason in str(error)) == (len(before), 7, True), error
