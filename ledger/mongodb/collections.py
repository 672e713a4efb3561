"""The names of the database and of the collections that hold a channel's ledger."""

from typing import Final

BLOCKS: Final = "blocks"
TRANSACTIONS: Final = "transactions_ledger"
EVENTS: Final = "chaincode_events"
SYNC_STATE: Final = "sync_state"
REPAIRS: Final = "repairs"
"""What `kindledger repair` changed, in documents that are never changed themselves."""
VERDICTS: Final = "verdicts"
CERTIFICATES: Final = "certificates"
RAW_BLOCKS: Final = "raw_blocks"
"""Blocks as their source delivered them, unless they are kept in a folder or not at all."""

RESERVED_DATABASES: Final = frozenset({"admin", "config", "local"})
"""MongoDB's own databases."""

MAX_DATABASE_NAME_BYTES: Final = 63


def database_name(channel: str) -> str | None:
    """Return the name of a channel's database: the channel's name with `_` in place of `.`.

    Return None if MongoDB does not allow this name.
    """
    name = channel.replace(".", "_")
    allowed = name not in RESERVED_DATABASES and len(name.encode()) <= MAX_DATABASE_NAME_BYTES
    return name if allowed else None
