"""The commit hash follows from the codes, the writes and the commit hash of the block before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.commit_hash import claimed_commit_hash, commit_hash
from ledger.decoding.blocks import decode_block, read_block
from ledger.errors import CorruptBlockError
from ledger.state_changes import MAX_CHANGES, StateChanges, StateKey, Unchecked
from tests.ledger import forging
from tests.ledger.commit_hash_blocks import (
    Change,
    add_write,
    change_value,
    drop_write,
    with_changed_writes,
    with_code,
)
from tests.ledger.encoders import encode_with_both
from tests.ledger.random_envelopes import made_envelope
from tests.ledger.recorded import NAMES, Name, recorded
from tests.ledger.wire_format import field

NAMESPACE = "ns"
PUBLIC: StateKey = (NAMESPACE, "", b"k")
HASH_OF_EMPTY = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


def recomputed(raw: bytes, previous: bytes) -> bytes:
    block = read_block(raw)
    encoded = encode_with_both(raw)
    assert encoded is not None
    updates = encoded.updates
    if isinstance(updates, StateChanges):  # metadata without the dropped write
        updates = updates.serialize(block.number, dict.fromkeys(updates.missing(), b"earlier"))
    return commit_hash(block.codes, updates, previous)


@pytest.mark.parametrize("name", NAMES)
def test_the_commit_hash_of_each_recorded_block_is_that_of_the_peer(name: Name) -> None:
    previous = b""
    for raw in recorded(name).blocks[1:]:
        claimed = claimed_commit_hash(read_block(raw))
        assert recomputed(raw, previous) == claimed
        previous = claimed


_recorded = st.sampled_from(
    [(name, n) for name in NAMES for n in range(1, len(recorded(name).blocks))]
)


@given(_recorded, st.data())
def test_a_flipped_code_changes_the_commit_hash(at: tuple[Name, int], data: st.DataObject) -> None:
    name, number = at
    blocks = recorded(name).blocks
    raw, previous = blocks[number], claimed_commit_hash(read_block(blocks[number - 1]))
    codes = read_block(raw).codes
    index = data.draw(st.integers(0, len(codes) - 1))
    flipped = codes[index] ^ 1 << data.draw(st.integers(0, 7))
    changed = with_code(raw, index, flipped)
    assert recomputed(changed, previous) != claimed_commit_hash(read_block(changed))


@given(_recorded, st.sampled_from([change_value, drop_write, add_write]), st.data())
def test_a_changed_dropped_or_added_write_changes_the_commit_hash(
    at: tuple[Name, int], change: Change, data: st.DataObject
) -> None:
    name, number = at
    blocks = recorded(name).blocks
    raw, previous = blocks[number], claimed_commit_hash(read_block(blocks[number - 1]))
    codes = read_block(raw).codes
    index = data.draw(st.integers(0, len(codes) - 1))
    changed = with_changed_writes(raw, index, change)
    if changed is None or codes[index] or _writes_again(raw, index):
        return
    assert recomputed(changed, previous) != claimed_commit_hash(read_block(changed))


def _writes_again(raw: bytes, index: int) -> bool:
    """Return whether a later transaction of the block overwrites a key of this one."""
    transactions = decode_block(read_block(raw)).transactions
    keys = [
        {(s.namespace, w.key) for a in t.actions[:1] for s in a.rwsets for w in s.writes}
        if t.code == 0
        else set()
        for t in transactions
    ]
    return any(keys[index] & later for later in keys[index + 1 :])


def _write(key: bytes, value: bytes = b"", *, delete: bool = False) -> bytes:
    return field(3, field(1, key) + (field(2, 1) if delete else b"") + field(3, value))


def _metadata(key: bytes, entry: bytes = field(2, field(1, b"POLICY"))) -> bytes:
    return field(4, field(1, key) + entry)


def _changes(*writes: bytes, collections: bytes = b"") -> bytes | StateChanges:
    """Return the changes of block 5, whose VALID transactions have these writes."""
    envelopes = [
        made_envelope(f"id {n}", results=forging.namespace(each, collections))
        for n, each in enumerate(writes)
    ]
    encoded = encode_with_both(forging.block(envelopes, bytes(len(envelopes))))
    assert encoded is not None
    return encoded.updates


def _entry(rest: bytes, index: int = 0) -> bytes:
    """Return an entry of the key `k` in `Updates`, for the transaction at an index of block 5."""
    version = b"\1\5" + (bytes((1, index)) if index else b"\0")
    return field(1, field(1, b"ns") + field(3, b"k") + rest + field(6, version))


_VALUE, _DELETED = field(5, b"v"), field(4, 1)


@pytest.mark.parametrize(
    ("writes", "expected"),
    [
        ([_write(b"k", b"v")], _entry(_VALUE)),
        ([_write(b"k", b"v"), _write(b"k", delete=True)], _entry(_DELETED, 1)),
        ([_write(b"k", b"w"), _write(b"k", b"v")], _entry(_VALUE, 1)),
        ([_write(b"k")], _entry(_DELETED)),  # an empty value deletes, see FAB-18386
        ([_write(b"k", b"v", delete=True)], _entry(_DELETED)),
        ([_write(b"k", b"v") + _metadata(b"k")], _entry(_VALUE)),
        ([_write(b"k", b"v"), _metadata(b"k")], _entry(_VALUE, 1)),
        ([_write(b"k", b"v"), _metadata(b"k", b"")], _entry(_VALUE, 1)),
        ([_metadata(b"k"), _write(b"k", b"v")], _entry(_VALUE, 1)),
        ([_write(b"k", delete=True), _metadata(b"k")], _entry(_DELETED)),
        ([_write(b"k", delete=True) + _metadata(b"k")], _entry(_DELETED)),
        ([_write(b"k", b"v"), _write(b"k", b"w") * 2], _entry(_VALUE, 1)),  # counts as metadata
    ],
)
def test_the_last_change_of_a_key_counts(writes: list[bytes], expected: bytes) -> None:
    assert _changes(*writes) == expected


def test_metadata_alone_keeps_the_value_and_changes_the_version() -> None:
    changes = _changes(b"", _metadata(b"k"))
    assert isinstance(changes, StateChanges)
    assert changes.missing() == {PUBLIC}
    assert changes.serialize(5, {PUBLIC: b"v"}) == _entry(_VALUE, 1)
    assert changes.serialize(5, {PUBLIC: None}) == b"", "a key that does not exist"


def test_metadata_of_a_private_key_needs_its_hash() -> None:
    hashed = field(3, field(1, b"c") + field(2, field(3, field(1, b"h"))))
    changes = _changes(b"", collections=hashed)
    assert isinstance(changes, StateChanges)
    assert changes.missing() == {(NAMESPACE, "c", b"h")}


def test_namespaces_collections_and_keys_are_in_the_order_of_their_bytes() -> None:
    def namespace(name: bytes, keys: list[bytes], collections: list[bytes]) -> bytes:
        hashes = b"".join(
            field(3, field(1, c) + field(2, field(2, field(1, b"h") + field(3, b"x"))))
            for c in collections
        )
        return field(2, field(1, name) + field(2, b"".join(_write(k, b"v") for k in keys)) + hashes)

    results = (
        namespace(b"b", [b"\xc3\xa9", b"a"], [b"d", b"c"])
        + namespace(b"", [b"configuration"], [])
        + namespace(b"a", [], [b"c"])
    )
    raw = forging.block([made_envelope(results=results)], b"\0")
    encoded = encode_with_both(raw)
    assert encoded is not None
    version, value = field(6, b"\1\5\0"), field(5, b"x") + field(6, b"\1\5\0")
    assert encoded.updates == b"".join(
        field(1, each)
        for each in (
            field(1, b"a") + field(2, b"c") + field(3, b"h") + value,
            field(1, b"b") + field(3, b"a") + _VALUE + version,
            field(3, b"\xc3\xa9") + _VALUE + version,
            field(2, b"c") + field(3, b"h") + value,
            field(2, b"d") + field(3, b"h") + value,
        )
    )


def test_an_empty_private_value_is_uncertain() -> None:
    """Fabric before 2.2.2 stored it, and later versions delete the key."""
    hashed = field(2, field(1, b"h") + field(3, HASH_OF_EMPTY))
    changes = _changes(b"", collections=field(3, field(1, b"c") + field(2, hashed)))
    assert isinstance(changes, StateChanges)
    assert changes.has_empty_private_value
    assert field(4, 1) in changes.serialize(5)


def test_a_valid_transaction_that_cannot_be_decoded_is_not_guessed() -> None:
    encoded = encode_with_both(forging.block([made_envelope(results=b"\xff")], b"\0"))
    assert encoded is not None
    assert isinstance(encoded.updates, StateChanges)
    assert encoded.updates.unchecked is Unchecked.UNDECODABLE


def test_too_many_writes_are_not_kept() -> None:
    count = MAX_CHANGES // 100_000 + 1
    writes = b"".join(_write(b"%d" % n, b"v") for n in range(10_000)) * 10
    changes = _changes(*[writes] * count)
    assert isinstance(changes, StateChanges)
    assert changes.unchecked is Unchecked.TOO_MANY_WRITES
    assert not changes.missing()


@pytest.mark.parametrize("entry", [b"\x0a", field(1, b"short"), field(1, b"x" * 32) + b"\x10\1"])
def test_a_commit_hash_that_no_peer_writes_is_refused(entry: bytes) -> None:
    raw = forging.block([made_envelope()], metadata=[b"", b"", b"", entry])
    with pytest.raises(CorruptBlockError, match="COMMIT_HASH"):
        claimed_commit_hash(read_block(raw))
