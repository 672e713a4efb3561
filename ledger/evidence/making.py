"""Makes bundles from serialized blocks."""

from collections.abc import Mapping, Sequence

from ledger.commit_hash import claimed_commit_hash
from ledger.decoding.blocks import UndecodedBlock, read_block
from ledger.evidence.bundle import encode_bundle
from ledger.evidence.commit_hashes import state_changes
from ledger.evidence.contents import Contents
from ledger.evidence.errors import EvidenceError
from ledger.evidence.examination import examine
from ledger.state_changes import StateKey
from ledger.trust.verdicts import RefusedError, UncheckedError

EarlierValues = Mapping[StateKey, bytes | None]


def make_bundle(
    config_blocks: Sequence[bytes],
    block: bytes,
    index: int,
    *,
    previous_commit_hash: bytes | None,
    earlier_values: EarlierValues | None,
) -> bytes:
    """Return the bundle that proves the envelope at an index of a block.

    `config_blocks`: the serialized CONFIG blocks from the genesis block, or from another one that
    verifiers trust, up to the one in force below the block. `previous_commit_hash`: the commit hash
    of the block before (b"" for block 1), None if it is not known. `earlier_values`: the values
    before the block of the keys that `missing_values` returns, None if they are not known. Without
    them, the bundle does not bind the validation code.

    Equal arguments give equal bytes. The bundle has been verified, as far as its first block can
    be trusted. Raises `EvidenceError` if it would prove nothing, and `CorruptBlockError` if a block
    is none.
    """
    anchor, target = read_block(next(iter(config_blocks), block)), read_block(block)
    previous, earlier = _commit_hash_parts(target, previous_commit_hash, earlier_values)
    contents = Contents(tuple(config_blocks), block, index, previous, earlier)
    try:
        return encode_bundle(contents, examine(contents, anchor.hash))
    except (RefusedError, UncheckedError) as error:
        raise EvidenceError(target.number, index, str(error)) from None


def missing_values(block: bytes) -> set[StateKey]:
    """Return the keys whose values from before the block the commit hash needs.

    They are the keys of which the block writes only metadata. Raises `CorruptBlockError`.
    """
    return state_changes(read_block(block)).missing()


def _commit_hash_parts(
    block: UndecodedBlock, previous: bytes | None, earlier_values: EarlierValues | None
) -> tuple[bytes | None, EarlierValues]:
    """Return what the commit hash is computed from; None and nothing if that is not possible."""
    if previous is None or earlier_values is None or not claimed_commit_hash(block):
        return None, {}
    changes = state_changes(block)
    missing = changes.missing()
    if changes.unchecked is not None or not missing <= earlier_values.keys():
        return None, {}
    return previous, {key: earlier_values[key] for key in missing}
