"""The commit hash of a block, recomputed from its codes and its writes."""

from collections.abc import Mapping

from ledger.commit_hash import claimed_commit_hash, commit_hash
from ledger.decoding.blocks import UndecodedBlock, decode_block
from ledger.state_changes import StateChanges, StateKey, Unchecked
from ledger.trust.verdicts import RefusedError


def state_changes(block: UndecodedBlock) -> StateChanges:
    """Return what the VALID transactions of a block do to keys.

    They are `unchecked` if different releases of Fabric compute different commit hashes from them.
    """
    changes = StateChanges()
    for transaction in decode_block(block).transactions:
        changes.add(transaction)
    if changes.has_empty_private_value and changes.unchecked is None:
        changes.unchecked = Unchecked.EMPTY_PRIVATE_VALUE
    return changes


def check_commit_hash(
    block: UndecodedBlock,
    changes: StateChanges,
    previous: bytes,
    earlier_values: Mapping[StateKey, bytes | None],
) -> bytes:
    """Return the commit hash of a block; raise `RefusedError` if it is not the right one.

    `earlier_values` must have the keys that `changes` misses, and no others.
    """
    if changes.unchecked is not None:
        raise RefusedError(f"the commit hash cannot be computed: {changes.unchecked}")
    if earlier_values.keys() != changes.missing():
        raise RefusedError("the earlier values are not those that the commit hash needs")
    updates = changes.serialize(block.number, earlier_values)
    computed = commit_hash(block.codes, updates, previous)
    if computed != claimed_commit_hash(block):
        raise RefusedError(
            f"the commit hash in the block does not follow: {computed.hex()} is computed"
        )
    return computed
