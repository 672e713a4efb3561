"""F8: PostgreSQL or the daemon is killed, hangs or is away at any point: nothing is missed, nothing is done twice."""

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import islice
from pathlib import Path

import asyncpg
import pytest
from msgspec.structs import replace

from devnet.forge.forger import ForgedBlock, forge
from devnet.peer import Peer
from devnet.peer.faults import delay
from devnet.servers import Postgres
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.store import LedgerStore
from reconciliation import facts
from reconciliation.migrations.migrator import Migrator
from reconciliation.migrations.scripts import load_migrations
from reconciliation.postgres_servers import PoolOptions
from tests.conftest import login_dsn
from tests.indexer.network import RECIPE, Client, peer_of
from tests.indexer.processes import configuration, ending, kindledger, stop
from tests.reconciliation import support
from tests.reconciliation.support import Gateway, GrowingLedger, chain, reconciling, sent, until

pytestmark = [
    pytest.mark.usefixtures("collected"),
    pytest.mark.filterwarnings(
        "ignore:unclosed <socket:ResourceWarning"
    ),  # of broken attempts to connect
]

SEED = int(os.environ.get("FAULT_SEED", "1"))
USER = "daemon"
ENDS_WITHIN_S = 4.0
START_S = 40.0
"""More than the longest pause between two tries."""


@asynccontextmanager
async def gateway_at(dsn: str) -> AsyncIterator[Gateway]:
    """An application's connection of its own: others may be broken."""
    connection = await asyncpg.connect(dsn)
    try:
        yield Gateway(connection)
    finally:
        connection.terminate()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Postgres]:
    """A PostgreSQL to be broken, with the business schema and the daemon's user."""
    with Postgres(tmp_path / "postgres") as server:
        async with gateway_at(server.dsn) as gateway:
            await Migrator(
                gateway.connection, load_migrations(), lambda _: None, program="tests"
            ).up()
        async with gateway_at(server.dsn) as gateway:
            await gateway.count_settlements()
            await gateway.open_campaign()
            await gateway.connection.execute(
                f"CREATE ROLE {USER} LOGIN PASSWORD '{USER}' IN ROLE kindledger_indexer"
            )
        yield server


async def settled(server: Postgres) -> bool:
    """Whether no row waits; False while that cannot be asked."""
    try:
        async with asyncio.timeout(1.0), gateway_at(server.dsn) as gateway:
            return await gateway.waiting() == 0
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False


async def kill(server: Postgres, draws: random.Random) -> None:
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(draws.uniform(0, 0.3))
    await asyncio.to_thread(server.start)


async def restart(server: Postgres, draws: random.Random) -> None:
    await asyncio.to_thread(server.stop)
    await asyncio.sleep(draws.uniform(0, 0.3))
    await asyncio.to_thread(server.start)


async def hang(server: Postgres, draws: random.Random) -> None:
    """Also for longer than a statement may take."""
    server.pause()
    await asyncio.sleep(draws.choice([0.1, 1.5]))
    server.resume()


@pytest.mark.parametrize(
    "rounds", [6, pytest.param(60, marks=(pytest.mark.long, pytest.mark.timeout(900)))]
)
async def test_postgresql_fails_in_the_middle_of_a_backlog(
    server: Postgres, ledger: GrowingLedger, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    print(f"repeat with FAULT_SEED={SEED}")
    draws = random.Random(SEED)
    monkeypatch.setattr(facts, "_BATCH_BLOCKS", 1)
    monkeypatch.setattr(support, "BOUNDS", PoolOptions(statement_timeout_s=0.2, lock_timeout_s=0.1))
    blocks = chain(10 * rounds)
    noted = sent(blocks, "Donate")
    async with gateway_at(server.dsn) as gateway:
        await gateway.note(noted)
    async with reconciling(login_dsn(server.dsn, USER), ledger):
        for n in range(rounds):
            await ledger.commit(blocks[10 * n : 10 * n + 10])
            await asyncio.sleep(draws.uniform(0, 0.1))
            await draws.choice([kill, restart, hang])(server, draws)
        await until(lambda: settled(server), START_S)
    async with gateway_at(server.dsn) as gateway:
        await gateway.assert_settled_once(noted)


RECIPE_OF_DONATIONS = replace(
    RECIPE, transactions_per_block=10, invalid_share=0.3, hostile_share=0.02
)
FORGED: tuple[ForgedBlock, ...] = tuple(islice(forge(RECIPE_OF_DONATIONS), 150))
NOTED = sent(FORGED, "Donate")

Start = Callable[[], AbstractAsyncContextManager[asyncio.subprocess.Process]]


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """Takes a second and a half for the chain."""
    async with peer_of([block.data for block in FORGED], delay(lambda _: True, 0.01)) as peer:
        yield peer


@pytest.fixture
def start(
    mongo_uri: str, store: LedgerStore, peer: Peer, server: Postgres, tmp_path: Path
) -> Start:
    """Starts the daemon, with batches of few blocks."""
    client = Client.enrolled(tmp_path / "client")
    file = configuration(
        tmp_path / "kindledger.toml",
        mongo_uri,
        store.database.name,
        client,
        peer,
        encoded_bytes=50_000,
    )
    environment = {
        "KINDLEDGER_POSTGRES__DSN": login_dsn(server.dsn, USER),
        "KINDLEDGER_RECONCILE__SWEEP_S": "1",
        "KINDLEDGER_RECONCILE__GRACE_S": "3600",
    }
    return lambda: kindledger("--config", file, "run", **environment)


@pytest.mark.parametrize(
    "kills", [8, pytest.param(50, marks=(pytest.mark.long, pytest.mark.timeout(900)))]
)
async def test_kill_9_of_the_daemon(
    server: Postgres, store: LedgerStore, start: Start, kills: int
) -> None:
    """At any moment after its start; whenever the whole chain is settled, everything begins anew."""
    print(f"repeat with FAULT_SEED={SEED}")
    draws = random.Random(SEED)
    async with gateway_at(server.dsn) as gateway:
        await gateway.note(NOTED)
        for _ in range(kills):
            if await gateway.waiting() == 0:
                await gateway.assert_settled_once(NOTED)
                await empty(gateway, store)
                await gateway.note(NOTED)
            before = await gateway.waiting()
            async with start() as process:

                async def moved(before: int = before) -> bool:
                    return await gateway.waiting() < before

                await until(moved, START_S)
                await asyncio.sleep(draws.uniform(0, 0.3))
                process.kill()
                await ending(process)
            await check_consistent(gateway)
        async with start() as process:
            await until(lambda: settled(server), START_S)
            stop(process)
            ended = await ending(process)
        assert ended.code in {143, -signal.SIGTERM}  # there may have been nothing left to do
        assert [line for line in logged(ended.stderr) if line["level"] == "error"] == []
        await gateway.assert_settled_once(NOTED)


async def empty(gateway: Gateway, store: LedgerStore) -> None:
    await gateway.connection.execute(
        "TRUNCATE transactions, donations, settlements, ledger_cursor, ledger_discrepancies"
    )
    for name in (BLOCKS, TRANSACTIONS, EVENTS):
        await store.database[name].delete_many({})


async def check_consistent(gateway: Gateway) -> None:
    """The cursor never leads."""
    height = await gateway.connection.fetchval("SELECT height FROM ledger_cursor")
    rows = await gateway.connection.fetch(
        "SELECT tx_hash FROM transactions WHERE status <> 'PENDING'"
    )
    assert {record["tx_hash"] for record in rows} >= {
        one.tx_id for one in NOTED if one.block < (height or 0)
    }


async def test_postgresql_is_away_while_blocks_are_indexed(
    server: Postgres, store: LedgerStore, start: Start
) -> None:
    """Indexing takes no notice of it, and the backlog is settled afterwards."""
    async with gateway_at(server.dsn) as gateway:
        await gateway.note(NOTED)

    async def stored(height: int) -> bool:
        return await store.database[BLOCKS].estimated_document_count() >= height

    async with start() as process:
        await until(lambda: stored(20), START_S)
        await asyncio.to_thread(server.kill)
        killed = time.monotonic()
        await until(lambda: stored(len(FORGED)))
        took = time.monotonic() - killed
        await asyncio.sleep(0.5)  # away a while longer, with nothing else to do
        await asyncio.to_thread(server.start)
        await until(lambda: settled(server), START_S)
        stop(process)
        ended = await ending(process)
    assert took < 8.0, "the peer alone takes a second and a half"
    lines = [line["event"] for line in logged(ended.stderr)]
    assert lines.count("reconciliation_held_up") == lines.count("reconciliation_goes_on") == 1
    async with gateway_at(server.dsn) as gateway:
        await gateway.assert_settled_once(NOTED)


def logged(stderr: str) -> Sequence[dict[str, object]]:
    return [json.loads(line) for line in stderr.splitlines()]


async def test_the_end_comes_in_time_while_postgresql_hangs(
    server: Postgres, ledger: GrowingLedger
) -> None:
    """Whoever stops the daemon does not wait for an answer that does not come."""
    async with gateway_at(server.dsn) as gateway:
        await gateway.note(sent(chain(40), "Donate"))
    async with reconciling(login_dsn(server.dsn, USER), ledger):
        await ledger.commit(chain(40)[:20])
        await asyncio.sleep(0.3)
        server.pause()
        await ledger.commit(chain(40)[20:])
        await asyncio.sleep(0.3)
        began = time.monotonic()
    ended_after_s = time.monotonic() - began
    server.resume()
    assert ended_after_s < ENDS_WITHIN_S
