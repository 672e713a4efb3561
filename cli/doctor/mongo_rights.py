"""Compares the rights that the daemon and the API need in MongoDB with the granted ones."""

from collections.abc import Collection, Mapping
from typing import Any, Final, TypeAlias

from cli.doctor.checks import FailedStepError
from cli.errors import Exit
from ledger.mongodb.collections import (
    BLOCKS,
    CERTIFICATES,
    EVENTS,
    RAW_BLOCKS,
    SYNC_STATE,
    TRANSACTIONS,
    VERDICTS,
)
from ledger.mongodb.rights import granted_actions

Rights: TypeAlias = Mapping[str, frozenset[str]]
"""Actions by collection."""

_LEDGER_COLLECTIONS = (BLOCKS, TRANSACTIONS, EVENTS)
_OF_VERIFICATION = (VERDICTS, CERTIFICATES)
_APPENDING = frozenset({"find", "insert", "createCollection", "createIndex", "listIndexes"})
_CHANGING = frozenset({"update", "remove", "dropCollection"})

_NEEDED_TO_INDEX: Final[Rights] = dict.fromkeys(_LEDGER_COLLECTIONS, _APPENDING) | {
    SYNC_STATE: frozenset({"find", "insert", "update"}),
    VERDICTS: frozenset({"find", "insert"}),
    CERTIFICATES: frozenset({"find", "insert", "update", "createIndex"}),
    RAW_BLOCKS: frozenset({"find", "insert"}),
}
_NEEDED_TO_READ: Final[Rights] = dict.fromkeys(
    _LEDGER_COLLECTIONS, frozenset({"find", "listIndexes"})
) | dict.fromkeys((SYNC_STATE, VERDICTS, CERTIFICATES, RAW_BLOCKS), frozenset({"find"}))


def needed_rights(*, indexes: bool, verifies_envelopes: bool, raw_blocks: bool) -> Rights:
    """Return the rights of a user that `indexes` channels, or else only reads.

    Without the verification of envelopes nothing needs what it writes. `raw_blocks` tells whether
    raw blocks are kept in MongoDB.
    """
    needed = _NEEDED_TO_INDEX if indexes else _NEEDED_TO_READ
    used = dict.fromkeys(_OF_VERIFICATION, verifies_envelopes) | {RAW_BLOCKS: raw_blocks}
    return {name: needed[name] for name in needed if used.get(name, True)}


def describe_rights(
    step: str, privileges: Collection[Mapping[str, Any]], database: str, needed: Rights
) -> str:
    """Return a text: the rights are exactly the needed ones, or more than needed.

    The privileges have the form of MongoDB's `connectionStatus`. Raises `FailedStepError` if rights
    are missing.
    """
    append_only = (*_LEDGER_COLLECTIONS, VERDICTS, RAW_BLOCKS)
    granted = {
        collection: granted_actions(privileges, database, collection)
        for collection in {*needed, *append_only}
    }
    missing = {collection: needed[collection] - granted[collection] for collection in needed}
    if any(missing.values()):
        list_of_missing = "; ".join(
            f"{name}: {', '.join(sorted(actions))}" for name, actions in missing.items() if actions
        )
        raise FailedStepError(
            step,
            f"missing on database {database}: {list_of_missing}",
            "Give the user the role that config/mongo-roles.js creates.",
            Exit.CONFIGURATION,
        )
    surplus = frozenset[str]().union(*(granted[name] & _CHANGING for name in append_only))
    if surplus:
        return (
            f"more than needed on database {database}: {', '.join(sorted(surplus))} on the "
            "collections of the ledger"
        )
    return f"exactly the needed rights on database {database}"
