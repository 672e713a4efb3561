import base64
import json
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pymongo import AsyncMongoClient, MongoClient

from protos import common_pb2 as common
from tests.explorer_api.support import CHANNEL, Api, Json, append_now, decoded, running_api

_LEDGERS = Path(__file__).parent.parent / "fixtures" / "ledgers"
_RECORDED = "raft-2.5-blocks-000000-000135.tar.xz"


@pytest.fixture(scope="session")
def recorded() -> list[bytes]:
    """The recorded ledger's blocks, as the peer delivered them."""
    with tarfile.open(_LEDGERS / _RECORDED) as archive:
        names = sorted(archive.getnames())
        files = [archive.extractfile(name) for name in names if name.endswith(".block")]
        return [file.read() for file in files if file is not None]


@pytest.fixture(scope="session")
def parsed(recorded: list[bytes]) -> list[common.Block]:
    """The same, as Fabric's own message."""
    return [common.Block.FromString(block) for block in recorded]


@pytest.fixture(scope="session")
def delivered_events() -> list[Json]:
    """The events of the recorded ledger, as Fabric's own client library delivered them."""
    lines = (_LEDGERS / "raft-2.5-chaincode-events.jsonl").read_text().splitlines()
    return [event | {"payload": base64.b64decode(event["payload"])} for event in map(json.loads, lines)]


@pytest.fixture(scope="session")
def recorded_database(mongo_uri: str, recorded: list[bytes]) -> Iterator[str]:
    """A database with the recorded ledger, for tests that only read."""
    name = f"test_api_{uuid4().hex}"
    append_now(mongo_uri, name, [decoded(block) for block in recorded])
    yield name
    with MongoClient[Any](mongo_uri) as client:
        client.drop_database(name)


@pytest.fixture
async def client(mongo_uri: str) -> AsyncIterator[AsyncMongoClient[Any]]:
    async with AsyncMongoClient[Any](mongo_uri) as client:
        yield client


@pytest.fixture
async def recorded_api(client: AsyncMongoClient[Any], recorded_database: str) -> AsyncIterator[Api]:
    """The API over the recorded ledger."""
    async with running_api(client, {CHANNEL: recorded_database}) as api:
        yield api


@pytest.fixture
async def api(client: AsyncMongoClient[Any], database_name: str) -> AsyncIterator[Api]:
    """The API over an empty database of the test's own."""
    async with running_api(client, {CHANNEL: database_name}) as api:
        yield api
