"""Compares the compiled encoder with the reference."""

from collections.abc import Container
from functools import cache

import pytest

from ledger.block_encoder import BlockEncoder, PythonEncoder
from ledger.documents.encoding import EncodedBlock
from ledger.errors import CorruptBlockError
from ledger.ownership import decide_owners
from ledger.state_changes import StateChanges, Unchecked

REFERENCE = PythonEncoder()


@cache
def compiled() -> BlockEncoder | None:
    """Return the compiled encoder, or None if the extension is not installed."""
    try:
        from ledger.compiled.encoder import CompiledEncoder  # noqa: PLC0415 - may be absent
    except ImportError:
        return None
    return CompiledEncoder()


def required_compiled() -> BlockEncoder:
    """Return the compiled encoder; skip the test if the extension is not installed."""
    return compiled() or pytest.skip("the extension is not installed: there was no C compiler")


def encode_with_both(raw: bytes, owned_below: Container[str] = ()) -> EncodedBlock | None:
    """Return the reference's documents of a block, after a comparison with the compiled encoder's.

    Return None if the block is corrupt; then both encoders must give the same error.
    """
    expected = _encode(REFERENCE, raw, owned_below)
    encoder = compiled()
    if encoder is not None:
        assert _facts(_encode(encoder, raw, owned_below)) == _facts(expected)
    return None if isinstance(expected, str) else expected


def _encode(encoder: BlockEncoder, raw: bytes, owned_below: Container[str]) -> EncodedBlock | str:
    try:
        block = encoder.claims(encoder.read(raw))
        return encoder.encode(block, decide_owners(block, owned_below))
    except CorruptBlockError as error:
        return str(error)


def _facts(encoded: EncodedBlock | str) -> object:
    if isinstance(encoded, str):
        return encoded
    transactions, events = encoded.transactions, encoded.events
    return (
        encoded.number,
        encoded.block.raw,
        (len(transactions), transactions.raw),
        (len(events), events.raw),
        encoded.undecodable,
        _changes(encoded.updates),
    )


def _changes(updates: bytes | StateChanges) -> object:
    """Return the changes of the state, or what the block tells about them."""
    if isinstance(updates, bytes):
        return updates
    if updates.unchecked is Unchecked.TOO_MANY_WRITES:
        return updates.unchecked
    earlier = dict.fromkeys(updates.missing(), b"earlier")
    return (
        updates.unchecked,
        updates.has_empty_private_value,
        earlier,
        updates.serialize(5, earlier),
    )
