"""Names of the database and the collections that hold a channel's ledger."""

from typing import Final

BLOCKS: Final = "blocks"
TRANSACTIONS: Final = "transactions_ledger"
EVENTS: Final = "chaincode_events"
SYNC_STATE: Final = "sync_state"

RESERVED_DATABASES: Final = frozenset({"admin", "config", "local"})
MAX_DATABASE_NAME_BYTES: Final = 63


def database_name(channel: str) -> str | None:
    """The database of a channel: its name with `.` as `_`; None where MongoDB takes no such name."""
    name = channel.replace(".", "_")
    return (
        None if name in RESERVED_DATABASES or len(name.encode()) > MAX_DATABASE_NAME_BYTES else name
    )
