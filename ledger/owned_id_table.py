"""Remembers in little memory which transaction ids the envelopes of a ledger own.

The table has no ids, only a part of the hash of each: it answers with the few positions at which
the owner of an id can be. The caller compares the ids of the envelopes at these positions.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Final

from bson.int64 import Int64

from ledger.position import pack_position

_SEGMENT_SLOTS: Final = 1 << 20
"""The number of slots of a segment, 8 bytes each; fewer if a table has fewer in total."""

_FILL_SHARE: Final = 0.7
"""The share of a segment's slots that are used; then the next segment begins."""

_ORDINAL_BITS: Final = 34
_ORDINALS: Final = (1 << _ORDINAL_BITS) - 1
_TAG_BITS: Final = 64 - _ORDINAL_BITS
_TAGS: Final = (1 << _TAG_BITS) - 1


class OwnedIdTable:
    """The owned ids of contiguous blocks, about 12 bytes for each.

    A segment is a hash table with open addressing. A slot has the ordinal of an envelope and 30
    bits of the hash of its id; other bits of the hash choose the slot. 0 is a free slot. Ordinals
    count the envelopes from the first block on, without those after the last owner of a block.
    Python's hash of a text has a random key in each process, so that no client can choose ids with
    the same hash.
    """

    def __init__(
        self,
        max_bytes: int,
        *,
        segment_slots: int | None = None,
        hash_of: Callable[[str], int] = hash,
    ) -> None:
        """Create an empty table; `segment_slots` is a power of two."""
        if segment_slots is None:
            segment_slots = min(_SEGMENT_SLOTS, 1 << max(max_bytes // 8, 1).bit_length() - 1)
        self._max_segments = max_bytes // (segment_slots * 8)
        self._slots, self._hash_of = segment_slots, hash_of
        self._slot_bits = segment_slots.bit_length() - 1
        self._segments: list[array[int]] = []
        self._free_slots = 0
        """The slots of the last segment that may still be used."""
        self._first_block = 0
        self._first_ordinals = array("Q")
        """The ordinal of the first envelope of each block; ordinals begin at 1."""
        self._next_ordinal = 1

    def has_room(self, ids: int) -> bool:
        """Return whether this number of ids can be added within the limit of bytes."""
        segments = self._max_segments - len(self._segments)
        return ids <= self._free_slots + segments * int(self._slots * _FILL_SHARE)

    def add(self, number: int, owned_ids: Mapping[str, int]) -> None:
        """Add block `number`, which follows the block that was added before.

        `owned_ids` has the ids that its envelopes own, each with the index of its envelope.
        `has_room` must hold.
        """
        if not self._first_ordinals:
            self._first_block = number
        first = self._next_ordinal
        self._first_ordinals.append(first)
        self._next_ordinal += max(owned_ids.values(), default=-1) + 1
        hash_of, bits, mask = self._hash_of, self._slot_bits, self._slots - 1
        for tx_id, index in owned_ids.items():
            if not self._free_slots:
                self._segments.append(array("Q", bytes(self._slots * 8)))
                self._free_slots = int(self._slots * _FILL_SHARE)
            self._free_slots -= 1
            segment, hashed = self._segments[-1], hash_of(tx_id)
            slot = hashed & mask
            while segment[slot]:
                slot = slot + 1 & mask
            segment[slot] = (hashed >> bits & _TAGS) << _ORDINAL_BITS | first + index

    def candidates(self, tx_id: str) -> list[Int64]:
        """Return every position at which the owner of the id can be; empty if no envelope owns it.

        Other positions than that of the owner are returned by chance only.
        """
        hashed, mask = self._hash_of(tx_id), self._slots - 1
        tag = hashed >> self._slot_bits & _TAGS
        positions: list[Int64] = []
        for segment in self._segments:
            slot = hashed & mask
            while entry := segment[slot]:
                if entry >> _ORDINAL_BITS == tag:
                    positions.append(self._position(entry & _ORDINALS))
                slot = slot + 1 & mask
        return positions

    def _position(self, ordinal: int) -> Int64:
        block = bisect_right(self._first_ordinals, ordinal) - 1
        return pack_position(self._first_block + block, ordinal - self._first_ordinals[block])
