"""Real servers for the tests: started once a run, however many workers share them."""

import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from pymongo import AsyncMongoClient, MongoClient

from devnet.servers import EmbeddedServers
from ledger.store import LedgerStore

settings.register_profile(
    "kindledger",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    print_blob=True,
)
settings.load_profile("kindledger")

_SERVERS = pytest.StashKey[tuple[EmbeddedServers, "tempfile.TemporaryDirectory[str]"]]()


def _addresses(config: pytest.Config) -> dict[str, str]:
    """Where the servers of this run are; starts them unless another process, or this one before, has done so."""
    given: dict[str, str] | None = getattr(config, "workerinput", {}).get("addresses")
    if given is not None:
        return given
    if _SERVERS not in config.stash:
        folder = tempfile.TemporaryDirectory(prefix="kindledger-tests-")
        servers = EmbeddedServers(Path(folder.name), {})
        servers.start()
        config.stash[_SERVERS] = (servers, folder)
    servers = config.stash[_SERVERS][0]
    return {"mongo": servers.mongo_uri, "postgres": servers.postgres_dsn, "redis": servers.redis_url}


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hands the addresses to a worker of pytest-xdist, before it starts."""
    node.workerinput["addresses"] = _addresses(node.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stops what this process started."""
    if _SERVERS in config.stash:
        servers, folder = config.stash[_SERVERS]
        servers.stop()
        folder.cleanup()


@pytest.fixture(scope="session")
def mongo_uri(request: pytest.FixtureRequest) -> str:
    """The address of a replica set that all tests share; each uses databases of its own."""
    return _addresses(request.config)["mongo"]


@pytest.fixture(scope="session")
def postgres_dsn(request: pytest.FixtureRequest) -> str:
    """The superuser's address of a PostgreSQL that all tests share; each uses databases of its own."""
    return _addresses(request.config)["postgres"]


@pytest.fixture
async def empty_database(postgres_dsn: str) -> AsyncIterator[str]:
    """The superuser's address of an empty PostgreSQL database that no other test uses, dropped afterwards."""
    name = f"t{uuid.uuid4().hex[:16]}"
    connection = await asyncpg.connect(postgres_dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        yield f"{postgres_dsn.rpartition('/')[0]}/{name}"
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


@pytest.fixture
def database_name(mongo_uri: str) -> Iterator[str]:
    """A database that no other test uses, dropped afterwards."""
    name = f"t{uuid.uuid4().hex[:16]}"
    yield name
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        client.drop_database(name)


@pytest.fixture
async def mongo(mongo_uri: str) -> AsyncIterator[AsyncMongoClient[dict[str, Any]]]:
    """A client on the test's own event loop."""
    async with AsyncMongoClient[dict[str, Any]](mongo_uri, tz_aware=True) as client:
        yield client


@pytest.fixture
async def store(mongo: AsyncMongoClient[dict[str, Any]], database_name: str) -> LedgerStore:
    """An empty store, prepared."""
    store = LedgerStore(mongo, database_name)
    await store.prepare()
    return store
