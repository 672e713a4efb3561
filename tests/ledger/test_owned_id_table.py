"""The table of owned ids: it always has the owner's position, whatever the hash function."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.owned_id_table import OwnedIdTable
from ledger.position import pack_position

SLOTS = 16
BYTES_OF_A_SEGMENT = SLOTS * 8
IDS_OF_A_SEGMENT = int(SLOTS * 0.7)

HASHES: dict[str, Callable[[str], int]] = {
    "python's": hash,
    "the same for all": lambda _: -1,
    "equal slots": lambda text: hash(text) << 4,
    "equal tags": lambda text: hash(text) & 15,
}


def small_table(segments: int, hash_of: Callable[[str], int] = hash) -> OwnedIdTable:
    return OwnedIdTable(segments * BYTES_OF_A_SEGMENT, segment_slots=SLOTS, hash_of=hash_of)


@pytest.mark.parametrize("hash_of", HASHES.values(), ids=HASHES)
@given(
    first=st.integers(0, 1 << 30),
    blocks=st.lists(st.sets(st.integers(0, 6)), min_size=1, max_size=12),
)
def test_the_owner_of_an_id_is_always_among_the_candidates(
    hash_of: Callable[[str], int], first: int, blocks: list[set[int]]
) -> None:
    """Each block owns the ids of some of its envelopes; some blocks own none."""
    table = small_table(10, hash_of)
    positions: dict[str, int] = {}
    for number, indexes in enumerate(blocks, first):
        owned = {f"{number}/{index}": index for index in indexes}
        table.add(number, owned)
        positions |= {tx_id: pack_position(number, index) for tx_id, index in owned.items()}
    for tx_id, position in positions.items():
        candidates = table.candidates(tx_id)
        assert position in candidates
        assert set(candidates) <= set(positions.values())
    if hash_of is hash:
        assert table.candidates("unknown") == []


def test_a_table_has_room_up_to_its_limit_of_bytes() -> None:
    table = small_table(3)
    for number in range(3):
        left = (3 - number) * IDS_OF_A_SEGMENT
        assert (table.has_room(left), table.has_room(left + 1)) == (True, False)
        table.add(number, {f"{number}/{n}": n for n in range(IDS_OF_A_SEGMENT)})
    assert (table.has_room(0), table.has_room(1)) == (True, False)
    assert table.candidates("0/3") == [pack_position(0, 3)]
    assert table.candidates("2/10") == [pack_position(2, 10)]


def test_other_positions_than_the_owners_are_rare() -> None:
    """One of 100,000 ids, or of 10,000 others, may have one: the hash function is random."""
    table = OwnedIdTable(8 << 20)
    draws = random.Random(1)
    ids = [f"{draws.getrandbits(256):064x}" for _ in range(100_000)]
    for number in range(100):
        part = ids[number * 1000 : (number + 1) * 1000]
        table.add(number, {tx_id: index for index, tx_id in enumerate(part)})
    candidates = [table.candidates(tx_id) for tx_id in ids]
    others = sum(len(table.candidates(f"{n:064x}")) for n in range(10_000))
    assert all(
        pack_position(n // 1000, n % 1000) in positions for n, positions in enumerate(candidates)
    )
    assert sum(map(len, candidates)) + others <= len(ids) + 1
