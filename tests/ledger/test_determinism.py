"""Documents depend on the chain only, and not on the order of maps or of sets."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from ledger.decoding.blocks import decode_block, read_block
from tests.ledger import forging
from tests.ledger.recorded import NAMES, encoded_blocks, recorded
from tests.ledger.wire_format import Field, fields, serialize

_GROUP_MAPS = (2, 3, 4)  # groups, values and policies of a ConfigGroup


def digest_of_all_documents() -> str:
    """Return the SHA-256 over all documents of the recorded ledgers."""
    digest = sha256()
    for name in NAMES:
        for encoded in encoded_blocks(name):
            for document in (encoded.block, *encoded.transactions, *encoded.events):
                digest.update(document.raw)
    return digest.hexdigest()


def test_another_process_with_another_hash_seed_writes_the_same_bytes() -> None:
    def run(seed: str) -> str:
        code = f"from {__name__} import digest_of_all_documents as digest; print(digest())"
        return subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout.strip()

    assert {run("1"), run("2"), digest_of_all_documents()} == {digest_of_all_documents()}


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_map_entries_on_the_wire_does_not_matter(name: str) -> None:
    raw = next(
        r
        for n in NAMES
        if n == name
        for r in recorded(n).blocks[::-1]
        if _channel_group(r) is not None
    )
    group = _channel_group(raw)
    assert group is not None
    reversed_group = _reversed(group)
    assert reversed_group != group
    one, other = (
        decode_block(
            read_block(forging.block([forging.envelope(forging.config(g), forging.CONFIG)]))
        )
        for g in (group, reversed_group)
    )
    assert one.transactions[0].config is not None
    assert one.transactions[0].config == other.transactions[0].config


def _channel_group(raw: bytes) -> bytes | None:
    """Return the root group of the configuration in a block's first envelope, or None."""
    first = decode_block(read_block(raw)).transactions[0]
    if first.config is None:
        return None
    data = read_block(raw).envelopes[0]
    # Envelope.payload, Payload.data, ConfigEnvelope.config, Config.channel_group
    for number in (1, 2, 1, 2):
        data = _only(data, number)
    return data


def _only(message: bytes, number: int) -> bytes:
    (value,) = (value for field_number, value in fields(message) if field_number == number)
    assert isinstance(value, bytes)
    return value


def _reversed(group: bytes) -> bytes:
    reordered: list[Field] = []
    for number, value in reversed(fields(group)):
        if number == _GROUP_MAPS[0] and isinstance(value, bytes):
            name, child = _only(value, 1), _only(value, 2)
            reordered.append((number, serialize([(1, name), (2, _reversed(child))])))
        else:
            reordered.append((number, value))
    return serialize(reordered)
