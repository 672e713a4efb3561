"""The rights that MongoDB has granted to the user of a connection."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

ALL_ACTIONS: Final = frozenset(
    {
        *("find", "insert", "createCollection", "createIndex", "listIndexes"),
        *("update", "remove", "dropCollection"),
    }
)
"""The actions on a collection that the program asks for, or warns of."""


def granted_actions(
    privileges: Iterable[Mapping[str, Any]], database: str, collection: str
) -> frozenset[str]:
    """Return the granted actions on a collection; an empty name in a privilege stands for all.

    The privileges have the form of MongoDB's `connectionStatus`.
    """
    actions: set[str] = set()
    for privilege in privileges:
        resource = privilege["resource"]
        if resource.get("anyResource", False) or (
            resource.get("db") in ("", database) and resource.get("collection") in ("", collection)
        ):
            actions.update(privilege["actions"])
    return ALL_ACTIONS if "anyAction" in actions else frozenset(actions)
