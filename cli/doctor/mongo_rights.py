"""The rights that the daemon and the API need in a channel's database, compared with those that MongoDB grants."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from cli.doctor.checks import FailedStepError
from cli.errors import Exit
from ledger.mongodb.collections import BLOCKS, EVENTS, SYNC_STATE, TRANSACTIONS

Rights = Mapping[str, frozenset[str]]
"""Actions by collection."""

_LEDGER = (BLOCKS, TRANSACTIONS, EVENTS)
_APPEND = frozenset({"find", "insert", "createCollection", "createIndex", "listIndexes"})
_CHANGE = frozenset({"update", "remove", "dropCollection"})

NEEDED_TO_INDEX: Final[Rights] = dict.fromkeys(_LEDGER, _APPEND) | {
    SYNC_STATE: frozenset({"find", "insert", "update"})
}
NEEDED_TO_READ: Final[Rights] = dict.fromkeys(_LEDGER, frozenset({"find", "listIndexes"})) | {
    SYNC_STATE: frozenset({"find"})
}


def describe_rights(
    step: str, privileges: Iterable[Mapping[str, Any]], database: str, needed: Rights
) -> str:
    """Says that the rights are enough, and whether they go too far. Raises `FailedStepError` if some are missing.

    `privileges` as `connectionStatus` gives them.
    """
    granted = {collection: _granted(privileges, database, collection) for collection in needed}
    missing = {collection: needed[collection] - granted[collection] for collection in needed}
    if any(missing.values()):
        lacks = "; ".join(
            f"{name}: {', '.join(sorted(actions))}" for name, actions in missing.items() if actions
        )
        raise FailedStepError(
            step,
            f"missing on database {database}: {lacks}",
            "Give the user the role that config/mongo-roles.js makes.",
            Exit.CONFIGURATION,
        )
    surplus = frozenset[str]().union(*(granted[name] & _CHANGE for name in _LEDGER))
    if surplus:
        return f"enough on database {database}, and more than needed: {', '.join(sorted(surplus))} on the ledger"
    return f"just what is needed on database {database}"


def _granted(
    privileges: Iterable[Mapping[str, Any]], database: str, collection: str
) -> frozenset[str]:
    """The actions on one collection; an empty name in a privilege stands for every one."""
    actions: set[str] = set()
    for privilege in privileges:
        resource = privilege["resource"]
        everywhere = resource.get("anyResource", False)
        if everywhere or (
            resource.get("db") in ("", database) and resource.get("collection") in ("", collection)
        ):
            actions.update(privilege["actions"])
    if "anyAction" in actions:
        return _APPEND | _CHANGE
    return frozenset(actions)
