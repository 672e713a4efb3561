"""Fixtures of the tests of the API: ledgers, clients and running APIs."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
from pymongo import AsyncMongoClient, MongoClient
from redis.asyncio import Redis

from cli.assembly.business_reports import business_reports
from cli.assembly.redis import redis_client
from cli.configuration.settings import Settings
from ledger.mongodb.store import LedgerStore
from protos import common_pb2 as common
from tests.explorer_api.streams import Chain
from tests.explorer_api.support import CHANNEL, Api, Json, append_now, decoded, running_api
from tests.indexer.inventory import make_inventory
from tests.ledger import recorded as recordings


@pytest.fixture(scope="session")
def recorded() -> list[bytes]:
    """The blocks of the recorded ledger, as the peer delivered them."""
    return list(recordings.recorded("raft-2.5").blocks)


@pytest.fixture(scope="session")
def parsed(recorded: list[bytes]) -> list[common.Block]:
    """The blocks of the recorded ledger as Fabric's own messages."""
    return [common.Block.FromString(block) for block in recorded]


@pytest.fixture(scope="session")
def delivered_events() -> list[Json]:
    """The events of the recorded ledger, as Fabric's own client library delivered them."""
    events = recordings.recorded("raft-2.5").events
    return [event | {"payload": base64.b64decode(event["payload"])} for event in events]


@pytest.fixture(scope="session")
def recorded_database(mongo_uri: str, recorded: list[bytes]) -> Iterator[str]:
    """A database with the recorded ledger, raw blocks and certificates, which tests only read."""
    name = f"test_api_{uuid4().hex}"
    append_now(mongo_uri, name, [decoded(block) for block in recorded], recorded)
    asyncio.run(store_inventory(mongo_uri, name, recorded))
    yield name
    with MongoClient[Any](mongo_uri) as client:
        client.drop_database(name)


async def store_inventory(mongo_uri: str, database: str, blocks: list[bytes]) -> None:
    async with AsyncMongoClient[Any](mongo_uri) as client:
        await make_inventory(LedgerStore(client, database).database, blocks)


@pytest.fixture
async def client(mongo_uri: str) -> AsyncIterator[AsyncMongoClient[Any]]:
    async with AsyncMongoClient[Any](mongo_uri) as client:
        yield client


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A connection to Redis as the API has it."""
    async with redis_client(redis_url) as redis:
        yield redis


@pytest.fixture
async def recorded_api(client: AsyncMongoClient[Any], recorded_database: str) -> AsyncIterator[Api]:
    """The API over the recorded ledger."""
    async with running_api(client, {CHANNEL: recorded_database}) as api:
        yield api


@pytest.fixture
async def api(client: AsyncMongoClient[Any], database_name: str) -> AsyncIterator[Api]:
    """The API over the empty database of the test."""
    async with running_api(client, {CHANNEL: database_name}) as api:
        yield api


@pytest.fixture
async def whole_api(
    client: AsyncMongoClient[Any], recorded_database: str, indexer_dsn: str
) -> AsyncIterator[Api]:
    """The API over the recorded ledger and a business database without rows."""
    settings = Settings.model_validate(
        {
            "postgres": {"dsn": indexer_dsn},
            "channels": {CHANNEL: {}},
            "reconcile": {"channel": CHANNEL},
        }
    )
    async with (
        business_reports(settings) as business,
        running_api(client, {CHANNEL: recorded_database}, business_reports=business) as api,
    ):
        yield api


@pytest.fixture
async def a_transaction(whole_api: Api) -> str:
    """The id of a transaction of the recorded ledger."""
    tx_id: str = (await whole_api.channel("/events", limit=1))["items"][0]["txId"]
    return tx_id


@pytest.fixture
def chain(store: LedgerStore) -> Chain:
    """A growing chain in the database of the test."""
    return Chain(store)
