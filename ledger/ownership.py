"""Decides which envelope owns a transaction id.

A transaction id is not unique on a Fabric ledger: clients submit an envelope again, and they choose
any id for an envelope that becomes invalid. Exactly one envelope owns an id. It is in the lowest
block that has the id. In this block it is the VALID envelope, or if there is none, the envelope
with the lowest index.

Fabric guarantees that no earlier envelope has the id of a VALID transaction. Therefore only ids of
invalid envelopes must be looked up in the store.
"""

from collections.abc import Container, Sequence
from typing import Protocol

from ledger.errors import CorruptBlockError
from ledger.model import VALID, ClaimedIds

MAX_TX_ID_BYTES = 1 << 16
"""A longer transaction id has no owner."""


class ClaimingBlock(Protocol):
    """A block whose envelopes claim transaction ids."""

    @property
    def number(self) -> int:
        """The block's number."""

    @property
    def codes(self) -> bytes:
        """The validation code of each envelope."""

    @property
    def claims(self) -> Sequence[ClaimedIds]:
        """The ids that each envelope claims."""


def ids_to_look_up(block: ClaimingBlock) -> set[str]:
    """Return the ids that a lower block may own already: the ids of invalid envelopes."""
    if not any(block.codes):
        return set()
    claims = zip(block.claims, block.codes, strict=True)
    return {claim.tx_id for claim, code in claims if code != VALID and _can_be_owned(claim.tx_id)}


def decide_owners(block: ClaimingBlock, owned_below: Container[str]) -> list[bool]:
    """Return for each envelope of the block whether it owns the id that it claims.

    `owned_below` holds those of `ids_to_look_up` that lower blocks own. Raises `CorruptBlockError`
    if two VALID transactions of the block have the same id, which Fabric excludes.
    """
    if _all_own(block):
        return [True] * len(block.codes)
    owners: dict[str, int] = {}
    for index, (claim, code) in enumerate(zip(block.claims, block.codes, strict=True)):
        if code == VALID and _can_be_owned(claim.tx_id):
            other = owners.setdefault(claim.tx_id, index)
            if other != index:
                raise CorruptBlockError(
                    block.number,
                    f"transaction {index}: tx_id",
                    "an id that no other VALID transaction has",
                    f"{claim.tx_id!r}, which transaction {other} has too",
                )
    for index, claim in enumerate(block.claims):
        if _can_be_owned(claim.tx_id) and claim.tx_id not in owned_below:
            owners.setdefault(claim.tx_id, index)
    return [owners.get(claim.tx_id) == index for index, claim in enumerate(block.claims)]


def _all_own(block: ClaimingBlock) -> bool:
    """Return whether every envelope owns its id: all are VALID, and all ids differ.

    It is so in most blocks. False does not say anything about the block.
    """
    if any(block.codes):
        return False
    ids = {claim.tx_id for claim in block.claims}
    return len(ids) == len(block.codes) and all(map(_can_be_owned, ids))


def _can_be_owned(tx_id: str) -> bool:
    """Return whether the id is neither empty nor too long.

    UTF-8 has at most 4 bytes for a character, so that most ids need not be encoded.
    """
    return 0 < len(tx_id) <= MAX_TX_ID_BYTES // 4 or 0 < len(tx_id.encode()) <= MAX_TX_ID_BYTES
