"""The channels that MongoDB holds are found by their progress; no command skips one silently."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from devnet.servers import Mongod
from ledger.mongodb.collections import SYNC_STATE
from ledger.mongodb.stored_channels import find_channels
from ledger.mongodb.sync_state import write_sync_state
from tests.cli.support import uri_of
from tests.explorer_api.support import sync_state

READER = "lists_all_reads_one"


@pytest.fixture
async def admin(guarded_mongod: Mongod) -> AsyncIterator[AsyncMongoClient[Any]]:
    """A client that may do everything; the databases of the test are dropped at the end."""
    async with AsyncMongoClient[Any](guarded_mongod.uri) as client:
        yield client
        for database in ("readable", "unreadable"):
            await client.drop_database(database)


async def test_a_channel_of_a_newer_daemon_is_found(
    mongo: AsyncMongoClient[Any], database_name: str
) -> None:
    channel = f"of.{database_name}"
    await write_sync_state(mongo[database_name], sync_state(channel))
    await mongo[database_name][SYNC_STATE].update_one(
        {}, {"$set": {"state": "hibernating"}, "$unset": {"version": 1}}
    )
    assert (await find_channels(mongo))[channel] == database_name


async def test_documents_of_another_application_are_no_channel(
    mongo: AsyncMongoClient[Any], database_name: str
) -> None:
    await mongo[database_name][SYNC_STATE].insert_many(
        [{"state": "theirs"}, {"state": "theirs", "channel": "theirs"}, {"_id": 1, "channel": 1}]
    )
    assert database_name not in (await find_channels(mongo)).values()


async def test_a_database_that_must_not_be_read_is_an_error_unless_it_is_skipped(
    guarded_mongod: Mongod, admin: AsyncMongoClient[Any]
) -> None:
    """Else `kindledger verify` would pass although it did not verify that ledger."""
    for database in ("readable", "unreadable"):
        await write_sync_state(admin[database], sync_state(f"of.{database}"))
    privileges = [
        {"resource": {"cluster": True}, "actions": ["listDatabases"]},
        {"resource": {"db": "readable", "collection": SYNC_STATE}, "actions": ["find"]},
    ]
    await admin.admin.command("createRole", READER, privileges=privileges, roles=[])
    await admin.admin.command("createUser", READER, pwd=f"{READER}-pw", roles=[READER])
    async with AsyncMongoClient[Any](uri_of(guarded_mongod, READER)) as client:
        with pytest.raises(OperationFailure, match="not authorized"):
            await find_channels(client)
        channels = await find_channels(client, skip_unreadable=True)
    assert channels == {"of.readable": "readable"}
