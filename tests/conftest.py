"""Real servers for the tests: started once a run, however many workers share them."""

import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from pymongo import AsyncMongoClient, MongoClient

from devnet.servers import Mongod
from ledger.store import LedgerStore

settings.register_profile(
    "kindledger",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    print_blob=True,
)
settings.load_profile("kindledger")

_MONGOD = pytest.StashKey[tuple[Mongod, "tempfile.TemporaryDirectory[str]"]]()


def _start_mongod(config: pytest.Config) -> str:
    if _MONGOD not in config.stash:
        folder = tempfile.TemporaryDirectory(prefix="kindledger-tests-")
        mongod = Mongod(Path(folder.name) / "mongo")
        mongod.start()
        config.stash[_MONGOD] = (mongod, folder)
    return config.stash[_MONGOD][0].uri


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hands the address to a worker of pytest-xdist, before it starts."""
    node.workerinput["mongo_uri"] = _start_mongod(node.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stops what this process started."""
    if _MONGOD in config.stash:
        mongod, folder = config.stash[_MONGOD]
        mongod.stop()
        folder.cleanup()


@pytest.fixture(scope="session")
def mongo_uri(request: pytest.FixtureRequest) -> str:
    """The address of a replica set that all tests share; each uses databases of its own."""
    workerinput = getattr(request.config, "workerinput", None)
    return str(workerinput["mongo_uri"]) if workerinput is not None else _start_mongod(request.config)


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
