"""Decides which envelope owns a transaction id.

A transaction id is not unique on a Fabric ledger: envelopes are submitted again, and clients choose what they like
for envelopes that end up invalid. One occurrence owns it: in the first block that has the id, the VALID one, else the
lowest index. Fabric guarantees that the id of a VALID transaction is new across blocks, so only ids that invalid
envelopes claim need a look-up.
"""

from collections.abc import Container

from ledger.errors import CorruptBlockError
from ledger.model import VALID, Block

MAX_TX_ID_BYTES = 1 << 16


def ids_to_look_up(block: Block) -> set[str]:
    """Ids that a lower block may own already: those that an invalid envelope claims."""
    claims = zip(block.claims, block.codes, strict=True)
    return {claim.tx_id for claim, code in claims if code != VALID and _can_be_owned(claim.tx_id)}


def decide_owners(block: Block, taken: Container[str]) -> list[bool]:
    """For each envelope whether it owns its id. `taken` holds the doubtful ids that lower blocks own.

    Raises `CorruptBlockError` if two VALID transactions of the block have the same id, which Fabric excludes.
    """
    owners: dict[str, int] = {}
    for index, (claim, code) in enumerate(zip(block.claims, block.codes, strict=True)):
        if code == VALID and _can_be_owned(claim.tx_id):
            other = owners.setdefault(claim.tx_id, index)
            if other != index:
                raise CorruptBlockError(
                    block.number,
                    f"transaction {index}: tx_id",
                    "an id of its own, as VALID transactions have",
                    f"{claim.tx_id!r}, which transaction {other} has too",
                )
    for index, claim in enumerate(block.claims):
        if _can_be_owned(claim.tx_id) and claim.tx_id not in taken:
            owners.setdefault(claim.tx_id, index)
    return [owners.get(claim.tx_id) == index for index, claim in enumerate(block.claims)]


def _can_be_owned(tx_id: str) -> bool:
    return 0 < len(tx_id) <= MAX_TX_ID_BYTES // 4 or 0 < len(tx_id.encode()) <= MAX_TX_ID_BYTES
