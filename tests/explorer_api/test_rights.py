"""The API never writes, and its role in `config/mongo-roles.json` only allows reading.

tests/cli/test_mongo_roles.py checks what the role forbids.
"""

import ast
import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from structlog.testing import capture_logs

from devnet.servers import Mongod
from explorer_api.options import Options
from ledger.mongodb.sync_state import ChannelState, write_sync_state
from tests.cli.conftest import guarded_mongod
from tests.cli.support import uri_of
from tests.eventually import eventually
from tests.explorer_api.examples import ENDING_ROUTES, example
from tests.explorer_api.support import (
    FRESH,
    C,
    append,
    append_now,
    block,
    decoded,
    running_api,
    sync_state,
)

__all__ = ["guarded_mongod"]

ROOT = Path(__file__).parents[2]
DATABASE = "rights"


@pytest.fixture(scope="module")
def indexed(guarded_mongod: Mongod, recorded: list[bytes]) -> Mongod:
    """A MongoDB with the recorded ledger and another channel, which the API discovers."""
    append_now(guarded_mongod.uri, DATABASE, [decoded(each) for each in recorded])
    append_now(guarded_mongod.uri, "growing", [block(0, [])])

    async def report() -> None:
        async with AsyncMongoClient[Any](guarded_mongod.uri) as admin:
            await write_sync_state(
                admin[DATABASE],
                sync_state(state=ChannelState.FOLLOWING, updated_at=datetime.now(UTC)),
            )
            await write_sync_state(
                admin["growing"], sync_state("growing", updated_at=datetime.now(UTC))
            )

    asyncio.run(report())
    return guarded_mongod


@pytest.fixture
async def admin(indexed: Mongod) -> AsyncIterator[AsyncMongoClient[Any]]:
    async with AsyncMongoClient[Any](indexed.uri) as client:
        yield client


@pytest.fixture
async def reader(indexed: Mongod) -> AsyncIterator[AsyncMongoClient[Any]]:
    """The connection of the API, with the role of the documentation."""
    async with AsyncMongoClient[Any](uri_of(indexed, "kindledger_api")) as client:
        yield client


async def test_every_route_works_with_the_right_to_read(
    admin: AsyncMongoClient[Any], reader: AsyncMongoClient[Any]
) -> None:
    async with (
        running_api(admin, None, FRESH) as unrestricted,
        running_api(reader, None, FRESH) as api,
    ):
        tx_id = (await api.channel("/events", limit=1))["items"][0]["txId"]
        for route in ENDING_ROUTES:
            path = example(route, tx_id)
            response = await api.request("GET", path)
            expected = await unrestricted.request("GET", path)
            assert response.status == expected.status, path
            assert response.status < 500, path
            if "ETag" in expected.headers:
                assert response.headers["ETag"] == expected.headers["ETag"], path
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{api.base}{C}/stream") as stream,
        ):
            assert stream.status == 200
            async with asyncio.timeout(30):
                assert await stream.content.readuntil(b"\n\n")


async def test_the_right_to_read_suffices_for_notifications(
    admin: AsyncMongoClient[Any], reader: AsyncMongoClient[Any]
) -> None:
    path = "/api/v1/channels/growing/blocks"
    with capture_logs() as logs:
        async with running_api(reader, None, Options(head_age_s=60.0)) as api:
            assert (await api.get(path)).headers["Ledger-Height"] == "1"
            await asyncio.sleep(0.3)  # until the change stream is open
            await append(admin, "growing", [block(1, [])])
            await eventually(
                lambda: api.get(path),
                lambda response: response.headers["Ledger-Height"] == "2",
                within_s=20,
            )
    assert logs == []


WRITES = ("_one", "_many", "drop", "creat", "bulk", "rename")
METHODS = {name for owner in (AsyncCollection, AsyncDatabase) for name in vars(owner)}
WRITING = {name for name in METHODS - {"find_one"} if any(map(name.__contains__, WRITES))}
STORING = {
    "LedgerStore",
    "build_indexes",
    "create_collections",
    "write_sync_state",
    "record_verification",
    "VerdictStore",
    "CertificateStore",
    "MongoArchive",
}
WRITERS = {
    *("store.py", "sync_state.py", "index_builds.py", "repairs.py", "verdicts.py"),
    *("certificates.py", "raw_block_archive.py"),
}
"""The modules of ledger/mongodb that write; all others only read."""


def test_no_module_calls_a_function_that_writes() -> None:
    assert {
        "insert_one",
        "update_many",
        "delete_one",
        "drop",
        "create_index",
        "bulk_write",
    } <= WRITING
    modules = [
        *(ROOT / "explorer_api").rglob("*.py"),
        *(path for path in (ROOT / "ledger/mongodb").glob("*.py") if path.name not in WRITERS),
    ]
    writing = {module.name: names_that_write(ast.parse(module.read_text())) for module in modules}
    assert not {module: names for module, names in writing.items() if names}


def names_that_write(tree: ast.AST) -> set[str]:
    """Return the names and stages in a module that could write."""
    nodes = list(ast.walk(tree))
    called = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    stages = {
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    imported = {
        alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    return called & WRITING | stages & {"$out", "$merge"} | imported & STORING
