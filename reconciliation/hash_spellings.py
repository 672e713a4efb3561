"""The ways in which a business row may spell the id of a transaction."""

import re
from typing import Final

MAX_HASH_CHARACTERS: Final = 255
"""The length of the longest hash that a column of a business schema holds."""

_FABRIC_TX_ID = re.compile(r"[0-9a-f]{64}")


def is_fabric_id(tx_id: str) -> bool:
    """Return whether Fabric could have made this id: 64 hexadecimal digits in lower case."""
    return _FABRIC_TX_ID.fullmatch(tx_id) is not None


def is_searchable(tx_id: str) -> bool:
    """Return whether PostgreSQL can search for an id of the ledger.

    PostgreSQL refuses a NUL character, and then fails the whole batch. A column of type char
    ignores blanks at the end, so it would take the id for another id.
    """
    return (
        bool(tx_id)
        and "\0" not in tx_id
        and not tx_id.endswith(" ")
        and len(tx_id) <= MAX_HASH_CHARACTERS
    )


def candidate_ids(row_hash: str) -> tuple[str, ...]:
    """Return the searchable transaction ids that a row's hash may stand for, the literal one first.

    The second candidate is the hash without blanks and `0x`, in lower case, if that is an id of
    Fabric.
    """
    normalised = row_hash.strip().lower().removeprefix("0x")
    candidates = (row_hash, normalised) if is_fabric_id(normalised) else (row_hash,)
    return tuple(tx_id for tx_id in dict.fromkeys(candidates) if is_searchable(tx_id))


def usual_spellings(tx_id: str) -> tuple[str, ...]:
    """Return the four usual spellings of an id: lower case or capitals, with or without `0x`."""
    return (tx_id, tx_id.upper(), f"0x{tx_id}", f"0x{tx_id.upper()}")


def spellings_of(tx_id: str) -> tuple[str, ...]:
    """Return those of the usual spellings that stand for this id.

    Spellings with blanks or with mixed case are not among them.
    """
    return tuple(
        spelling
        for spelling in dict.fromkeys(usual_spellings(tx_id))
        if tx_id in candidate_ids(spelling)
    )
