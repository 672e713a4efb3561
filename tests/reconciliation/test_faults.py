"""PostgreSQL or the daemon is killed or hangs at any point: every row is settled exactly once."""

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
from ledger.mongodb.collections import BLOCKS
from ledger.mongodb.store import LedgerStore
from reconciliation.migrations.migrator import Migrator
from reconciliation.migrations.scripts import load_migrations
from reconciliation.postgres_servers import PoolOptions
from tests.conftest import login_dsn
from tests.eventually import eventually
from tests.indexer.network import RECIPE, Client, peer_of
from tests.indexer.processes import configuration, ending, kindledger, stop
from tests.indexer.support import delete_all_documents
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import GrowingLedger, forged_chain, submitted
from tests.reconciliation.running import reconciling

pytestmark = [
    pytest.mark.timeout(600),  # the daemon is started up to ten times
    pytest.mark.usefixtures("close_broken_connections"),
    pytest.mark.filterwarnings(
        "ignore:unclosed <socket:ResourceWarning"
    ),  # of interrupted attempts to connect
]

SEED = int(os.environ.get("FAULT_SEED", "1"))
USER = "daemon"
STOPPED_WITHIN_S = 8.0
"""Less than the 10 s after which the driver gives up a statement."""
RECOVERY_S = 100.0
"""Much more than the longest delay between two tries, which is 20 s."""


@asynccontextmanager
async def gateway_at(dsn: str) -> AsyncIterator[Gateway]:
    """Yield a gateway with a connection of its own: older connections may be broken."""
    connection = await asyncpg.connect(dsn)
    try:
        yield Gateway(connection)
    finally:
        connection.terminate()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Postgres]:
    """Yield a PostgreSQL of the test's own, with the business schema and the daemon's user."""
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


async def is_settled(server: Postgres) -> bool:
    """Return whether no row is pending; False if the server does not answer."""
    try:
        async with asyncio.timeout(5.0), gateway_at(server.dsn) as gateway:
            return await gateway.pending_rows() == 0
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False


async def kill(server: Postgres, random_choices: random.Random) -> None:
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(random_choices.uniform(0, 0.3))
    await asyncio.to_thread(server.start)


async def restart(server: Postgres, random_choices: random.Random) -> None:
    await asyncio.to_thread(server.stop)
    await asyncio.sleep(random_choices.uniform(0, 0.3))
    await asyncio.to_thread(server.start)


async def hang(server: Postgres, random_choices: random.Random) -> None:
    """Pause the server, sometimes for longer than a statement may take."""
    server.pause()
    await asyncio.sleep(random_choices.choice([0.1, 1.5]))
    server.resume()


@pytest.mark.parametrize(
    "rounds", [6, pytest.param(60, marks=(pytest.mark.long, pytest.mark.timeout(900)))]
)
async def test_a_backlog_is_settled_once_although_postgresql_fails(
    server: Postgres, ledger: GrowingLedger, rounds: int
) -> None:
    print(f"repeat with FAULT_SEED={SEED}")
    random_choices = random.Random(SEED)
    blocks = forged_chain(10 * rounds)
    written = submitted(blocks, "Donate")
    async with gateway_at(server.dsn) as gateway:
        await gateway.write_rows(written)
    daemon_dsn = login_dsn(server.dsn, USER)
    short_timeouts = PoolOptions(statement_timeout_s=0.5, lock_timeout_s=0.25)
    async with reconciling(daemon_dsn, ledger, pool_options=short_timeouts, batch_blocks=1):
        for n in range(rounds):
            await ledger.commit(blocks[10 * n : 10 * n + 10])
            await asyncio.sleep(random_choices.uniform(0, 0.1))
            await random_choices.choice([kill, restart, hang])(server, random_choices)
        await eventually(lambda: is_settled(server), within_s=RECOVERY_S)
    async with gateway_at(server.dsn) as gateway:
        await gateway.assert_settled_once(written)


DONATIONS_RECIPE = replace(RECIPE, transactions_per_block=10, invalid_share=0.3, hostile_share=0.02)
FORGED: tuple[ForgedBlock, ...] = tuple(islice(forge(DONATIONS_RECIPE), 150))
WRITTEN = submitted(FORGED, "Donate")

Start = Callable[[], AbstractAsyncContextManager[asyncio.subprocess.Process]]


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """Yield a peer that needs a second and a half for the chain."""
    async with peer_of([block.data for block in FORGED], delay(lambda _: True, 0.01)) as peer:
        yield peer


@pytest.fixture
def start(
    mongo_uri: str, store: LedgerStore, peer: Peer, server: Postgres, tmp_path: Path
) -> Start:
    """Return a function that starts the daemon, with batches of few blocks."""
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
async def test_rows_are_settled_once_although_the_daemon_is_killed(
    server: Postgres, store: LedgerStore, start: Start, kills: int
) -> None:
    """The daemon is killed at random times; the chain begins again when all rows are settled."""
    print(f"repeat with FAULT_SEED={SEED}")
    random_choices = random.Random(SEED)
    async with gateway_at(server.dsn) as gateway:
        await gateway.write_rows(WRITTEN)
        for _ in range(kills):
            if await gateway.pending_rows() == 0:
                await gateway.assert_settled_once(WRITTEN)
                await clear(gateway, store)
                await gateway.write_rows(WRITTEN)
            before = await gateway.pending_rows()
            async with start() as process:
                await wait_for_progress(gateway, before)
                await asyncio.sleep(random_choices.uniform(0, 0.3))
                process.kill()
                await ending(process)
            await check_consistent(gateway)
        async with start() as process:
            await eventually(lambda: is_settled(server), within_s=RECOVERY_S)
            stop(process)
            ended = await ending(process)
        assert ended.code in {143, -signal.SIGTERM}  # -SIGTERM without a handler
        assert [line for line in logged(ended.stderr) if line["level"] == "error"] == []
        await gateway.assert_settled_once(WRITTEN)


async def wait_for_progress(gateway: Gateway, pending: int) -> None:
    """Wait until fewer rows than `pending` are pending."""
    await eventually(gateway.pending_rows, lambda count: count < pending, within_s=RECOVERY_S)


async def clear(gateway: Gateway, store: LedgerStore) -> None:
    await gateway.connection.execute(
        "TRUNCATE transactions, donations, settlements, ledger_cursor, ledger_discrepancies"
    )
    await delete_all_documents(store)


async def check_consistent(gateway: Gateway) -> None:
    """Assert that every row of a block below the cursor is settled."""
    height = await gateway.connection.fetchval("SELECT height FROM ledger_cursor")
    rows = await gateway.connection.fetch(
        "SELECT tx_hash FROM transactions WHERE status <> 'PENDING'"
    )
    assert {record["tx_hash"] for record in rows} >= {
        each.tx_id for each in WRITTEN if each.block < (height or 0)
    }


async def test_blocks_are_indexed_while_postgresql_is_unavailable(
    server: Postgres, store: LedgerStore, start: Start
) -> None:
    """Indexing is not delayed, and the backlog is settled afterwards."""
    async with gateway_at(server.dsn) as gateway:
        await gateway.write_rows(WRITTEN)

    async def wait_for_blocks(count: int) -> None:
        await eventually(
            store.database[BLOCKS].estimated_document_count,
            lambda stored: stored >= count,
            within_s=RECOVERY_S,
        )

    async with start() as process:
        await wait_for_blocks(20)
        await asyncio.to_thread(server.kill)
        killed = time.monotonic()
        await wait_for_blocks(len(FORGED))
        indexed_after_s = time.monotonic() - killed
        await asyncio.sleep(0.5)  # an outage without anything to index
        await asyncio.to_thread(server.start)
        await eventually(lambda: is_settled(server), within_s=RECOVERY_S)
        stop(process)
        ended = await ending(process)
    assert indexed_after_s < 30.0, "the peer alone needs a second and a half"
    lines = [line["event"] for line in logged(ended.stderr)]
    assert lines.count("reconciliation_held_up") == lines.count("reconciliation_goes_on") == 1
    async with gateway_at(server.dsn) as gateway:
        await gateway.assert_settled_once(WRITTEN)


def logged(stderr: str) -> Sequence[dict[str, object]]:
    return [json.loads(line) for line in stderr.splitlines()]


async def test_the_daemon_stops_in_time_while_postgresql_hangs(
    server: Postgres, ledger: GrowingLedger
) -> None:
    """The end of the daemon does not wait for an answer of PostgreSQL."""
    async with gateway_at(server.dsn) as gateway:
        await gateway.write_rows(submitted(forged_chain(40), "Donate"))
    async with reconciling(login_dsn(server.dsn, USER), ledger):
        await ledger.commit(forged_chain(40)[:20])
        await asyncio.sleep(0.3)
        server.pause()
        await ledger.commit(forged_chain(40)[20:])
        await asyncio.sleep(0.3)
        began = time.monotonic()
    stopped_after_s = time.monotonic() - began
    server.resume()
    assert stopped_after_s < STOPPED_WITHIN_S
