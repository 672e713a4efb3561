"""Whatever applications write, clients commit and machines break, in whatever order: rows and ledger agree in the end.

And nothing else happens: no row is settled twice, none that was settled is changed, no discrepancy is open without a
reason or closed with one. What must come of it is decided by a model that looks at one row at a time.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devnet.servers import Postgres, PostgresReplica
from ledger.model import VALID
from ledger.mongodb.store import LedgerStore
from protos.transaction_pb2 import BAD_PROPOSAL_TXID, MVCC_READ_CONFLICT
from reconciliation import follower
from reconciliation.migrations.migrator import Migrator
from reconciliation.migrations.scripts import load_migrations
from reconciliation.postgres_servers import PostgresServers
from reconciliation.reconciler import ReconciliationIntervals
from tests.conftest import login_dsn
from tests.reconciliation.model import Entry, Truth, expected, truth_of
from tests.reconciliation.pen import Draft, Pen
from tests.reconciliation.support import BOUNDS, Gateway, GrowingLedger, once, reconciler, until

pytestmark = [
    pytest.mark.usefixtures("collected"),
    pytest.mark.filterwarnings(
        "ignore:unclosed <socket:ResourceWarning"
    ),  # of broken attempts to connect
]

BLOCKS = 10
AMOUNT = 5
USER = "daemon"
PACE = ReconciliationIntervals(sweep_s=0.1, grace_s=0.0, cross_check_s=0.2, recheck_s=0.1)
LAST_PACE = ReconciliationIntervals(sweep_s=0.1, grace_s=0.0, recheck_s=0.1)
CAMPAIGNS = ("c1", "c2", "c3")
EMPTY = (
    "TRUNCATE campaigns, transactions, donations, settlements, ledger_cursor, ledger_discrepancies"
)
END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'kindledger-explorer'
"""


def _written() -> tuple[list[Any], dict[str, Truth]]:
    """A chain, and what it says of each id."""
    pen, truths = Pen(seed=5), dict[str, Truth]()
    chain = [pen.genesis]
    for number in range(1, BLOCKS):
        paid = b'{"amount":%d}' % AMOUNT
        drafts = [
            Draft(payload=paid),
            Draft(MVCC_READ_CONFLICT, payload=paid),
            Draft(payload=paid),
            Draft(function="PutNote"),
            Draft(BAD_PROPOSAL_TXID, f"claimed {number}"),
            Draft(BAD_PROPOSAL_TXID, f"pending-{number}"),
        ]
        block, ids = pen.block(drafts)
        chain.append(block)
        for draft, id_ in zip(drafts, ids, strict=True):
            amount = None if draft.payload is None else Decimal(AMOUNT)
            truths[id_] = Truth(draft.code == VALID, number, draft.function == "Donate", amount)
    return chain, truths


CHAIN, TRUTHS = _written()


class Step(NamedTuple):
    """Something that happens; what the numbers mean is up to what it is."""

    name: str
    a: int = 0
    b: int = 0
    c: int = 0


# By name, how many of each a hundred steps have.
_SHARES = {"row": 36, "commit": 16, "hash": 10, "refund": 6, "amount": 5, "delete": 5, "wait": 6}
_SHARES |= {"kill": 6, "sever": 3, "second": 2, "off": 3, "crash": 1, "replica": 1}
_NAMES = [name for name, share in _SHARES.items() for _ in range(share)]
STEPS = st.lists(
    st.builds(
        Step, st.sampled_from(_NAMES), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)
    ),
    min_size=5,
    max_size=45,
)


def spelled(a: int, b: int) -> str | None:
    """A hash as a row may have it: mostly of a transaction of the chain, mostly written as it is."""
    ids = list(TRUTHS)
    hash_ = ids[a % len(ids)]
    if b < 70:
        return hash_
    patterns = (
        hash_.upper(),
        f"0x{hash_}",
        f"0x{hash_.upper()}",
        f" {hash_}\t",
        f"{a:064x}",
        "made up",
    )
    return (*patterns, "pending-7", "", None)[b % 9]


class World:
    """The servers, the applications that write, and the daemons that settle."""

    def __init__(self, primary: Postgres, replica: PostgresReplica, store: LedgerStore) -> None:
        self.primary, self.replica = primary, replica
        self.ledger = GrowingLedger(store)
        self.entries: dict[tuple[str, str], Entry] = {}
        self.daemons: list[asyncio.Task[None]] = []
        self.connection: asyncpg.Connection[asyncpg.Record]

    async def begin(self) -> None:
        """With nothing but three campaigns, and one daemon."""
        self.connection = await asyncpg.connect(self.primary.dsn)
        await self.connection.execute(EMPTY)
        for campaign in CAMPAIGNS:
            await Gateway(self.connection).open_campaign(campaign)
            self.entries["campaigns", campaign] = Entry(
                "campaigns", campaign, None, None, None, None
            )
        self.start_daemon()

    async def end(self) -> None:
        """Without daemons."""
        await self.stop_daemons()
        await self.connection.close()

    def start_daemon(self, pace: ReconciliationIntervals = PACE) -> None:
        """Beside those that run already."""
        self.daemons.append(asyncio.create_task(self._daemon(pace)))

    async def stop_daemons(self) -> None:
        """As SIGKILL would: wherever they are."""
        daemons, self.daemons = self.daemons, []
        assert not any(daemon.done() for daemon in daemons), "none ends by itself"
        for daemon in daemons:
            daemon.cancel()
        await asyncio.gather(*daemons, return_exceptions=True)

    async def _daemon(self, pace: ReconciliationIntervals) -> None:
        dsn, replica = (login_dsn(server.dsn, USER) for server in (self.primary, self.replica))
        async with PostgresServers(dsn, [replica], BOUNDS) as servers:
            await reconciler(servers, self.ledger, pace=pace).run()

    async def take(self, step: Step) -> None:
        """Lets it happen, and the daemons work for a moment."""
        await getattr(self, f"_{step.name}")(step.a, step.b, step.c)
        await asyncio.sleep(step.a % 5 / 200)

    async def _row(self, a: int, b: int, c: int) -> None:
        table = ("transactions", "transactions", "donations", "donations", "campaigns")[c % 5]
        hash_ = spelled(a, b)
        if table == "campaigns":
            await self._hash_of(self.entries["campaigns", CAMPAIGNS[a % 3]], hash_)
            return
        settled = c % 3 == 2
        state = ("CONFIRMED", "FAILED")[a % 2] if settled else "PENDING"
        gateway = Gateway(self.connection)
        amount = Decimal(AMOUNT + c // 25)
        entry = Entry(table, "", hash_, state, None, amount)
        with contextlib.suppress(asyncpg.UniqueViolationError):
            if table == "donations":
                entry.key = str(
                    await gateway.donation(
                        hash_, state, amount=amount, campaign_id=CAMPAIGNS[a % 3]
                    )
                )
                self.entries[table, entry.key] = entry
            elif hash_ is not None:
                entry.block = b % BLOCKS if settled and b % 4 else None
                key = await gateway.transaction(
                    hash_, state, amount=amount, block_number=entry.block
                )
                entry.key = str(key)
                self.entries[table, entry.key] = entry

    async def _hash(self, a: int, b: int, c: int) -> None:
        if (entry := self._one(c)) is not None:
            await self._hash_of(entry, spelled(a, b))

    async def _hash_of(self, entry: Entry, hash_: str | None) -> None:
        column = "tx_hash" if entry.table == "transactions" else "blockchain_tx_hash"
        if hash_ is not None or entry.table != "transactions":
            with contextlib.suppress(asyncpg.UniqueViolationError):
                await self._update(entry, f"{column} = $2", hash_)
                entry.hash = hash_

    async def _refund(self, a: int, b: int, c: int) -> None:
        entry = self._one(c, "donations")
        if entry is not None:
            await self._update(
                entry, "status = CASE status WHEN 'CONFIRMED' THEN $2 ELSE status END", "REFUNDED"
            )

    async def _amount(self, a: int, b: int, c: int) -> None:
        entry = self._one(c, "donations", "transactions")
        if entry is not None:
            entry.amount = Decimal(AMOUNT + a % 2)
            await self._update(entry, "amount = $2", entry.amount)

    async def _update(self, entry: Entry, change: str, value: object) -> None:
        """What it is settled as by now, it stays."""
        columns = {
            "transactions": "status, block_number",
            "donations": "status, NULL",
            "campaigns": "NULL, NULL",
        }
        found = await self.connection.fetchrow(
            f"UPDATE {entry.table} SET {change} WHERE id::text = $1 RETURNING {columns[entry.table]}",
            entry.key,
            value,
        )
        assert found is not None
        entry.state, entry.block = found

    async def _delete(self, a: int, b: int, c: int) -> None:
        entry = self._one(c, "donations", "transactions")
        if entry is not None:
            await self.connection.execute(
                f"DELETE FROM {entry.table} WHERE id::text = $1", entry.key
            )
            await self.connection.execute("DELETE FROM settlements WHERE key::text = $1", entry.key)
            del self.entries[entry.table, entry.key]

    def _one(self, n: int, *tables: str) -> Entry | None:
        some = [entry for entry in self.entries.values() if not tables or entry.table in tables]
        return some[n % len(some)] if some else None

    async def _commit(self, a: int, b: int, c: int) -> None:
        height = self.ledger.progress.committed_height
        self.ledger.reveal(min(height + 1 + a % 3, BLOCKS))

    async def _wait(self, a: int, b: int, c: int) -> None:
        """Meanwhile no row is ahead of the ledger."""
        await asyncio.sleep(a / 2000)
        height = self.ledger.progress.committed_height
        for name, key, state, _ in await self.connection.fetch(_ROWS):
            entry = self.entries[name, key]
            if entry.state != state:
                truth = truth_of(entry.hash, TRUTHS)
                assert truth is not None
                assert truth.block < height

    async def _kill(self, a: int, b: int, c: int) -> None:
        await self.stop_daemons()
        self.start_daemon()

    async def _off(self, a: int, b: int, c: int) -> None:
        await self.stop_daemons()

    async def _second(self, a: int, b: int, c: int) -> None:
        if len(self.daemons) < 2:
            self.start_daemon()

    async def _sever(self, a: int, b: int, c: int) -> None:
        await self.connection.execute(END_SESSIONS)

    async def _crash(self, a: int, b: int, c: int) -> None:
        await asyncio.to_thread(self.primary.kill)
        await asyncio.sleep(a / 1000)
        await asyncio.to_thread(self.primary.start)
        self.connection = await asyncpg.connect(self.primary.dsn)

    async def _replica(self, a: int, b: int, c: int) -> None:
        await asyncio.to_thread(self.replica.kill)
        await asyncio.sleep(a / 1000)
        await asyncio.to_thread(self.replica.start)

    async def heal(self) -> None:
        """Every block is there, and one daemon, which does not look at rows that are settled."""
        await self.stop_daemons()
        self.ledger.reveal(BLOCKS)
        self.start_daemon(LAST_PACE)

    async def check(self) -> None:
        """Waits until the rows are as they must be; then what is open is compared, once everything was looked at."""
        end = expected(self.entries.values(), TRUTHS)
        rows: dict[tuple[str, str], tuple[str | None, int | None]] = {}

        async def settled() -> bool:
            records = await self.connection.fetch(_ROWS)
            rows.update({(name, key): (state, block) for name, key, state, block in records})
            return (
                rows == end.rows
                and await self.connection.fetchval("SELECT height FROM ledger_cursor") == BLOCKS
            )

        with contextlib.suppress(AssertionError):
            await until(settled)
        assert rows == end.rows
        assert await settled()
        await self.stop_daemons()
        await once(login_dsn(self.primary.dsn, USER), self.ledger, pace=LAST_PACE)
        assert await settled()
        open_ = {tuple(record) for record in await self.connection.fetch(_OPEN)}
        assert open_ - end.doubtful == end.discrepancies
        assert await self.connection.fetch(_MISCOUNTED) == []
        counts = await self.connection.fetch(
            "SELECT count(*) AS times FROM settlements GROUP BY key"
        )
        assert {record["times"] for record in counts} <= {1}


_ROWS = """
SELECT 'transactions', id::text, status, block_number FROM transactions
UNION ALL SELECT 'donations', id::text, status, NULL FROM donations
UNION ALL SELECT 'campaigns', id, NULL, NULL FROM campaigns
"""
_OPEN = "SELECT kind, table_name, subject FROM ledger_discrepancies WHERE closed_at IS NULL"
_MISCOUNTED = """
SELECT id, raised_amount FROM campaigns WHERE raised_amount <>
    (SELECT coalesce(sum(amount), 0) FROM donations WHERE campaign_id = campaigns.id AND status = 'CONFIRMED')
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Postgres, PostgresReplica]]:
    """A primary to be killed, and its replica, with the business schema."""
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


async def agrees(
    servers: tuple[Postgres, PostgresReplica],
    store: LedgerStore,
    monkeypatch: pytest.MonkeyPatch,
    steps: Sequence[Step],
) -> None:
    """Takes the steps, heals everything, and compares."""
    monkeypatch.setattr(follower, "_AUDIT_POLL_S", 0.05)
    if await store.checkpoint() is None:
        await GrowingLedger(store).commit(CHAIN)
    world = World(*servers, store)
    await world.begin()
    try:
        for step in steps:
            await world.take(step)
        await world.heal()
        await world.check()
    finally:
        await world.end()


@settings(max_examples=60, derandomize=True, database=None)
@given(steps=STEPS)
async def test_rows_and_ledger_agree_in_the_end(
    servers: tuple[Postgres, PostgresReplica],
    store: LedgerStore,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[Step],
) -> None:
    await agrees(servers, store, monkeypatch, steps)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(max_examples=400, derandomize=True, database=None)
@given(steps=STEPS)
async def test_rows_and_ledger_agree_in_the_end_at_length(
    servers: tuple[Postgres, PostgresReplica],
    store: LedgerStore,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[Step],
) -> None:
    """The same, for many minutes."""
    await agrees(servers, store, monkeypatch, steps)
