"""Finds the channels whose ledgers MongoDB holds."""

from typing import Any, Final

import msgspec
from bson.errors import BSONError
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from ledger.mongodb.collections import RESERVED_DATABASES, database_name
from ledger.mongodb.reader import LedgerReader

_UNAUTHORIZED: Final = 13


async def find_channels(client: AsyncMongoClient[Any]) -> dict[str, str]:
    """Return the name of the database of every channel, by the channel's name.

    If several databases hold the same channel, the database that is named after it counts, else the
    first by name. Databases of other applications, and databases that the client must not read,
    are left out.
    """
    databases: dict[str, str] = {}
    for database in sorted(await client.list_database_names()):
        if database in RESERVED_DATABASES:
            continue
        channel = await _channel_in(client, database)
        if channel is not None and (channel not in databases or database == database_name(channel)):
            databases[channel] = database
    return databases


async def _channel_in(client: AsyncMongoClient[Any], database: str) -> str | None:
    """Return the channel that the database holds; None if it holds none or cannot be read."""
    try:
        sync = await LedgerReader(client, database).sync_state()
    except (msgspec.ValidationError, BSONError):
        return None
    except OperationFailure as error:
        if error.code == _UNAUTHORIZED:
            return None
        raise
    return sync.channel if sync is not None else None
