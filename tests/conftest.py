"""Real servers for the tests, started once per test run and shared by all workers."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from pymongo import AsyncMongoClient, MongoClient
from redis import Redis

from ledger.mongodb.store import LedgerStore
from reconciliation.migrations.migrator import Migrator
from reconciliation.migrations.scripts import load_migrations
from runtime.process_start import prepare_libraries
from tests.shared_servers import SharedServers

settings.register_profile(
    "kindledger",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    print_blob=True,
)
settings.load_profile("kindledger")

prepare_libraries()  # before a test module imports gRPC

_SERVERS = pytest.StashKey[tuple[SharedServers, dict[str, str]]]()


def _addresses(config: pytest.Config) -> dict[str, str]:
    """Return the addresses of the servers of this test run; start the servers at the first call.

    A worker of pytest-xdist gets the addresses from the main process.
    """
    addresses: dict[str, str] | None = getattr(config, "workerinput", {}).get("addresses")
    if addresses is not None:
        return addresses
    if _SERVERS not in config.stash:
        servers = SharedServers()
        config.stash[_SERVERS] = (servers, servers.start())
    return config.stash[_SERVERS][1]


def database_dsn(dsn: str, name: str) -> str:
    """Return the address of another database on the same PostgreSQL."""
    return f"{dsn.rpartition('/')[0]}/{name}"


def login_dsn(dsn: str, user: str) -> str:
    """Return the address of the same database for another user, whose password is the user name."""
    return f"postgresql://{user}:{user}@{dsn.rpartition('@')[2]}"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the addresses to a worker of pytest-xdist before it starts."""
    node.workerinput["addresses"] = _addresses(node.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers if this process started them."""
    if _SERVERS in config.stash:
        config.stash[_SERVERS][0].stop()


@pytest.fixture(scope="session")
def mongo_uri(request: pytest.FixtureRequest) -> str:
    """The address of a replica set that all tests share; each test has its own databases."""
    return _addresses(request.config)["mongo"]


@pytest.fixture(scope="session")
def postgres_dsn(request: pytest.FixtureRequest) -> str:
    """The superuser's address of a PostgreSQL that all tests share; each has its own databases."""
    return _addresses(request.config)["postgres"]


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """The address of an empty Redis database, which no other test uses at the same time."""
    server = _addresses(request.config)["redis"].rpartition("/")[0]
    worker: str = getattr(request.config, "workerinput", {}).get("workerid", "gw0")
    url = f"{server}/{worker.removeprefix('gw')}"
    with Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
async def empty_database(postgres_dsn: str) -> AsyncIterator[str]:
    """The superuser's address of an empty PostgreSQL database of this test, dropped at its end."""
    name = f"t{uuid.uuid4().hex[:16]}"
    connection = await asyncpg.connect(postgres_dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        yield database_dsn(postgres_dsn, name)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def migrated_template(postgres_dsn: str) -> Iterator[str]:
    """The name of a PostgreSQL database with all migrations, used as a template."""
    name = f"t{uuid.uuid4().hex[:16]}"
    asyncio.run(_execute(postgres_dsn, f"CREATE DATABASE {name}"))
    asyncio.run(_migrate(database_dsn(postgres_dsn, name)))
    yield name
    asyncio.run(_execute(postgres_dsn, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()


async def _migrate(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await Migrator(connection, load_migrations(), print, program="tests").up()
    await connection.close()


@pytest.fixture
async def business_database(postgres_dsn: str, migrated_template: str) -> AsyncIterator[str]:
    """The superuser's address of a PostgreSQL database with all migrations and without rows."""
    name = f"t{uuid.uuid4().hex[:16]}"
    await _execute(postgres_dsn, f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    yield database_dsn(postgres_dsn, name)
    await _execute(postgres_dsn, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def indexer_dsn(postgres_dsn: str, business_database: str) -> AsyncIterator[str]:
    """The address of `business_database` for a user with only the role of the daemon."""
    async with _user_with_role(postgres_dsn, "kindledger_indexer") as user:
        yield login_dsn(business_database, user)


@pytest.fixture
async def reporter_dsn(postgres_dsn: str, business_database: str) -> AsyncIterator[str]:
    """The address of `business_database` for a user with only the role for reports."""
    async with _user_with_role(postgres_dsn, "kindledger_reporter") as user:
        yield login_dsn(business_database, user)


@asynccontextmanager
async def _user_with_role(dsn: str, role: str) -> AsyncIterator[str]:
    """Create a user, whose password is its name, while the context lasts; yield the name."""
    user = f"u{uuid.uuid4().hex[:16]}"
    await _execute(dsn, f"CREATE ROLE {user} LOGIN PASSWORD '{user}' IN ROLE {role}")
    yield user
    await _execute(dsn, f"DROP ROLE {user}")


@pytest.fixture(scope="session")
def drop_database(mongo_uri: str) -> Iterator[Callable[[str], object]]:
    """A function that drops a MongoDB database in the background.

    The server lets every drop wait for a tenth of a second.
    """
    with (
        MongoClient[dict[str, Any]](mongo_uri) as client,
        ThreadPoolExecutor(max_workers=1) as executor,
    ):
        yield lambda name: executor.submit(client.drop_database, name)


@pytest.fixture
def database_name(drop_database: Callable[[str], object]) -> Iterator[str]:
    """The name of a MongoDB database of this test, dropped at its end."""
    name = f"t{uuid.uuid4().hex[:16]}"
    yield name
    drop_database(name)


@pytest.fixture
async def mongo(mongo_uri: str) -> AsyncIterator[AsyncMongoClient[dict[str, Any]]]:
    """A MongoDB client on the event loop of the test."""
    async with AsyncMongoClient[dict[str, Any]](mongo_uri, tz_aware=True) as client:
        yield client


@pytest.fixture
async def store(mongo: AsyncMongoClient[dict[str, Any]], database_name: str) -> LedgerStore:
    """An empty ledger store with its indexes."""
    store = LedgerStore(mongo, database_name)
    await store.prepare()
    return store
