"""The user who repairs a stored ledger, and what that user may do in MongoDB."""

import getpass
from datetime import UTC, datetime
from typing import Any

from pymongo import AsyncMongoClient

from ledger.mongodb.repairs import LEDGER, RAW_BLOCKS_NAME, RepairedBy, RepairStore
from ledger.mongodb.rights import granted_actions
from ledger.mongodb.store import LedgerStore

_CHANGING = frozenset({"update", "remove"})


async def repair_store(
    client: AsyncMongoClient[dict[str, Any]],
    store: LedgerStore,
    source: str | None,
    reason: str,
    *,
    changes_raw_blocks: bool,
) -> tuple[RepairStore, bool]:
    """Return the store for repairs, and whether its user may change and remove documents.

    Raw blocks are among these documents if `changes_raw_blocks` is set.
    """
    status = await client.admin.command("connectionStatus", showPrivileges=True)
    users = status["authInfo"]["authenticatedUsers"]
    privileges = status["authInfo"]["authenticatedUserPrivileges"]
    names = ", ".join(f"{user['user']}@{user['db']}" for user in users) or "without access control"
    changed = (*LEDGER, RAW_BLOCKS_NAME) if changes_raw_blocks else LEDGER
    may_change = not users or all(
        granted_actions(privileges, store.database.name, name) >= _CHANGING for name in changed
    )
    by = RepairedBy(_os_user(), names, source, reason)
    return RepairStore(store, by, lambda: datetime.now(UTC)), may_change


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
