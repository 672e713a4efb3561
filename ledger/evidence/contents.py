"""What a bundle holds apart from its statement."""

from collections.abc import Mapping

from msgspec import Struct

from ledger.state_changes import StateKey


class Contents(Struct, frozen=True):
    """The blocks of a bundle, and what its commit hash is computed from.

    `config_blocks`: the serialized CONFIG blocks from the anchor of the trust up to the one in
    force below the block, in order; none if the block itself is the anchor. `index`: the index of
    the envelope in the block. `previous_commit_hash`: the commit hash of the block before, b"" for
    block 1, or None if the commit hash cannot be computed. `earlier_values`: the values that keys
    had before the block, as far as the commit hash needs them; None for a key that did not exist.
    """

    config_blocks: tuple[bytes, ...]
    block: bytes
    index: int
    previous_commit_hash: bytes | None
    earlier_values: Mapping[StateKey, bytes | None]
