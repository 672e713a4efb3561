"""A block is accepted only if its hashes and its number of validation codes are correct."""

import re
from random import Random

import pytest
from google.protobuf.message import DecodeError

from ledger.decoding.blocks import UndecodedBlock, check_block, read_block
from ledger.errors import CorruptBlockError
from ledger.position import MAX_BLOCK_NUMBER
from protos.common_pb2 import Block
from tests.ledger import forging
from tests.ledger.recorded import recorded
from tests.ledger.seeded_mutations import mutated
from tests.ledger.wire_format import Field, Message, field, fields, serialize

_CORRECT_BYTES = forging.block([b"one", b"two"])
_CORRECT = Message(_CORRECT_BYTES)
_HEADER = fields(_CORRECT.data(1))


def _altered(
    header: list[Field] | None = None, data: list[Field] | None = None, codes: bytes | None = None
) -> bytes:
    metadata = _CORRECT.data(3) if codes is None else serialize([(1, b""), (1, b""), (1, codes)])
    return serialize(
        [
            (1, serialize(header or _HEADER)),
            (2, serialize(data) if data else _CORRECT.data(2)),
            (3, metadata),
        ]
    )


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "bytes: expected a serialized common.Block, got 0 bytes without a block header"),
        (
            b"\xff\xff",
            "block of unknown number: bytes: expected a serialized common.Block, got 2 bytes",
        ),
        (serialize([(2, b"")]), "got 2 bytes without a block header"),
        (
            _altered(header=[(1, MAX_BLOCK_NUMBER + 1), *_HEADER[1:]]),
            f"header.number: expected at most {MAX_BLOCK_NUMBER}, got {MAX_BLOCK_NUMBER + 1}",
        ),
        (_altered(header=[*_HEADER[:2], (3, b"\0" * 32)]), "block 5: header.data_hash: expected "),
        (_altered(data=[(1, b"two"), (1, b"one")]), "block 5: header.data_hash: expected "),
        (_altered(data=[(1, b"one")]), "block 5: header.data_hash: expected "),
        (_altered(codes=b"\0"), "one validation code for each of 2 envelopes, got 1 codes"),
        (_altered(codes=b"\0\0\0"), "one validation code for each of 2 envelopes, got 3 codes"),
        (
            _altered(codes=b""),
            "one validation code for each of 2 envelopes, got none, as in the blocks of an orderer",
        ),
    ],
)
def test_an_inconsistent_block_is_corrupt(raw: bytes, message: str) -> None:
    with pytest.raises(CorruptBlockError, match=re.escape(message)):
        read_block(raw)


def test_envelopes_that_are_joined_have_the_same_data_hash_but_too_many_codes() -> None:
    raw = _altered(data=[(1, b"onetwo")])
    with pytest.raises(
        CorruptBlockError, match="one validation code for each of 1 envelopes, got 2 codes"
    ):
        read_block(raw)


def test_a_truncated_block_is_never_accepted() -> None:
    raw = recorded("bft-3.1").blocks[9]
    metadata_at = raw.index(field(3, Message(raw).data(3)))
    for length in range(metadata_at + 1):
        with pytest.raises(CorruptBlockError):
            read_block(raw[:length])


def test_a_mutated_block_is_read_as_protobuf_reads_it() -> None:
    random = Random(1)
    accepted = 0
    for _ in range(20_000):
        raw = random.choice((mutated, _with_another_byte, _with_more_bytes))(random, _CORRECT_BYTES)
        expected = _parsed_by_protobuf(raw)
        try:
            block: UndecodedBlock | None = read_block(raw)
        except CorruptBlockError:
            block = None
        assert block == expected, raw.hex()
        accepted += block is not None
    assert 200 < accepted < 19_800


def _with_another_byte(random: Random, raw: bytes) -> bytes:
    at = random.randrange(len(raw))
    return raw[:at] + bytes([random.randrange(256)]) + raw[at + 1 :]


def _with_more_bytes(random: Random, raw: bytes) -> bytes:
    return raw + bytes(random.choices((0, 1, 2, 10, 18, 26, 34), k=random.randint(1, 3)))


def _parsed_by_protobuf(raw: bytes) -> UndecodedBlock | None:
    try:
        block = Block.FromString(raw)
        return check_block(
            block.header.number,
            block.header.previous_hash,
            block.header.data_hash,
            tuple(block.data.data),
            tuple(block.metadata.metadata),
        )
    except (DecodeError, CorruptBlockError):
        return None
