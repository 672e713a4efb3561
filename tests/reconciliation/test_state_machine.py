"""Rows and ledger agree in the end, after any sequence of writes, blocks, crashes and restarts.

No row is settled twice, no settled row is changed, and every discrepancy is opened and closed for a
reason. `expected_outcome` decides what must result, one row at a time.
"""

import asyncio
from collections.abc import Iterator, Sequence

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devnet.servers import Postgres, PostgresReplica
from ledger.mongodb.store import LedgerStore
from reconciliation.migrations.migrator import Migrator
from reconciliation.migrations.scripts import load_migrations
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import GrowingLedger
from tests.reconciliation.simulation import CHAIN, USER, Event, Simulation

pytestmark = [
    pytest.mark.usefixtures("close_broken_connections"),
    pytest.mark.filterwarnings(
        "ignore:unclosed <socket:ResourceWarning"
    ),  # of interrupted attempts to connect
]

# By name, the number of such events among a hundred.
_SHARES = {"row": 36, "commit": 16, "hash": 10, "refund": 6, "amount": 5, "delete": 5, "wait": 6}
_SHARES |= {"restart_daemons": 6, "end_sessions": 3, "second_daemon": 2, "stop_daemons": 3}
_SHARES |= {"primary_crash": 1, "replica_crash": 1}
_NAMES = [name for name, share in _SHARES.items() for _ in range(share)]
EVENTS = st.lists(
    st.builds(
        Event, st.sampled_from(_NAMES), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)
    ),
    min_size=5,
    max_size=45,
)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Postgres, PostgresReplica]]:
    """Yield a primary of the module's own and its replica, with the business schema."""
    folder = tmp_path_factory.mktemp("servers")
    with Postgres(folder / "primary") as primary:
        asyncio.run(_prepare(primary.dsn))
        with PostgresReplica(folder / "replica", primary) as replica:
            yield primary, replica


async def _prepare(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await Migrator(connection, load_migrations(), lambda _: None, program="tests").up()
    await Gateway(connection).count_settlements()
    await connection.execute(
        f"CREATE ROLE {USER} LOGIN PASSWORD '{USER}' IN ROLE kindledger_indexer"
    )
    await connection.close()


async def check_agreement(
    servers: tuple[Postgres, PostgresReplica], store: LedgerStore, events: Sequence[Event]
) -> None:
    """Let the events happen, heal everything, and compare rows and ledger."""
    if await store.checkpoint() is None:
        await GrowingLedger(store).commit(CHAIN)
    simulation = Simulation(*servers, store)
    await simulation.begin()
    try:
        for event in events:
            await simulation.handle(event)
        await simulation.heal()
        await simulation.check()
    finally:
        await simulation.end()


@pytest.mark.timeout(600)
@settings(max_examples=60, derandomize=True, database=None)
@given(events=EVENTS)
async def test_rows_and_ledger_agree_in_the_end(
    servers: tuple[Postgres, PostgresReplica], store: LedgerStore, events: list[Event]
) -> None:
    await check_agreement(servers, store, events)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(max_examples=400, derandomize=True, database=None)
@given(events=EVENTS)
async def test_rows_and_ledger_agree_after_many_sequences(
    servers: tuple[Postgres, PostgresReplica], store: LedgerStore, events: list[Event]
) -> None:
    await check_agreement(servers, store, events)
