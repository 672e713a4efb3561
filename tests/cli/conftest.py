"""Fixtures for the tests of the commands: an empty environment, and servers with access control."""

import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pymongo import MongoClient

from cli.configuration.loading import PREFIX
from devnet.servers import Mongod, Postgres, Redis
from ledger.mongodb.store import LedgerStore
from tests.cli.reconciling import HEIGHT
from tests.cli.support import ROOT, Files, Json
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import CHANNEL, GrowingLedger, forged_chain


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the configuration of this machine from the environment."""
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def guarded_mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A replica set with access control, with the roles and users of `config/mongo-roles.json`."""
    with Mongod(tmp_path_factory.mktemp("mongo"), auth=True) as mongod:
        definitions = json.loads((ROOT / "config" / "mongo-roles.json").read_text())
        with MongoClient[dict[str, Any]](mongod.uri) as client:
            for role in definitions["roles"]:
                client.admin.command(
                    "createRole", role["role"], privileges=role["privileges"], roles=role["roles"]
                )
            for user in definitions["users"]:
                client.admin.command(
                    "createUser", user["user"], pwd=f"{user['user']}-pw", roles=user["roles"]
                )
        yield mongod


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Certificates and keys of a member of an organisation."""
    return Files.enrolled(tmp_path)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is reserved, and on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
async def ledger(store: LedgerStore) -> GrowingLedger:
    """A stored ledger with many invalid transactions."""
    ledger = GrowingLedger(store)
    await ledger.commit(forged_chain()[:HEIGHT])
    return ledger


@pytest.fixture
async def gateway(business_database: str) -> AsyncIterator[Gateway]:
    """An application that writes business rows."""
    connection = await asyncpg.connect(business_database)
    gateway = Gateway(connection)
    await gateway.open_campaign()
    yield gateway
    await connection.close()


@pytest.fixture
def settings(mongo_uri: str, database_name: str, indexer_dsn: str) -> Json:
    """Settings of a ledger and of its business database."""
    return {
        "mongo": {"uri": mongo_uri},
        "channels": {CHANNEL: {"database": database_name}},
        "postgres": {"dsn": indexer_dsn},
        "log": {"level": "error"},
    }
