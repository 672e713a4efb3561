"""Finds the channels whose ledgers MongoDB holds."""

from typing import Any, Final

from bson.errors import BSONError
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from ledger.mongodb.collections import RESERVED_DATABASES, database_name
from ledger.mongodb.sync_state import read_channel_name

_UNAUTHORIZED: Final = 13


async def find_channels(
    client: AsyncMongoClient[Any], *, skip_unreadable: bool = False
) -> dict[str, str]:
    """Return the name of the database of every channel, by the channel's name.

    If several databases hold the same channel, the database that is named after the channel is
    chosen, or else the first by name. Databases of other applications are left out. Raises
    `OperationFailure` for a database that the client must not read, unless `skip_unreadable` is
    set; then such databases are left out.
    """
    databases: dict[str, str] = {}
    for database in sorted(await client.list_database_names()):
        if database in RESERVED_DATABASES:
            continue
        channel = await _channel_in(client, database, skip_unreadable=skip_unreadable)
        if channel is not None and (channel not in databases or database == database_name(channel)):
            databases[channel] = database
    return databases


async def _channel_in(
    client: AsyncMongoClient[Any], database: str, *, skip_unreadable: bool
) -> str | None:
    """Return the channel that the database holds, or None if it holds none."""
    try:
        return await read_channel_name(client[database])
    except BSONError:
        return None
    except OperationFailure as error:
        if skip_unreadable and error.code == _UNAUTHORIZED:
            return None
        raise
