"""What the tests of reconciliation share: a ledger that grows block by block, and rows that name its transactions."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from itertools import islice
from typing import Any

import asyncpg
from msgspec import Struct

from devnet.forge.forger import ForgedBlock, Recipe, forge
from indexer.channel_progress import ChannelProgress
from ledger.decoding.blocks import decode_block, read_block
from ledger.documents.encoding import encode_block
from ledger.model import VALID
from ledger.mongodb.store import LedgerStore
from ledger.ownership import decide_owners
from reconciliation.facts import LedgerFacts
from reconciliation.mapping import KINDLEDGER, BusinessMapping
from reconciliation.migrations.migrator import check_schema
from reconciliation.migrations.scripts import load_migrations
from reconciliation.postgres_servers import PoolOptions, PostgresServers
from reconciliation.reconciler import Reconciler, ReconciliationIntervals
from reconciliation.reconciliation_progress import ReconciliationProgress

CHANNEL = "kindledger"
PACE = ReconciliationIntervals(sweep_s=0.2, grace_s=0.5, recheck_s=0.2)
BOUNDS = PoolOptions(statement_timeout_s=5.0, lock_timeout_s=0.5)
WITHIN_S = 20.0


class Sent(Struct, frozen=True):
    """What a client sent, and what the ledger says of it: of the envelope that owns its id."""

    tx_id: str
    function: str
    args: tuple[str, ...]
    valid: bool
    block: int

    @property
    def state(self) -> str:
        """What a row that names it must become."""
        return "CONFIRMED" if self.valid else "FAILED"


@cache
def chain(height: int = 60, seed: int = 7, hostile_share: float = 0.05) -> tuple[ForgedBlock, ...]:
    """A chain with many transactions that fail."""
    recipe = Recipe(
        seed=seed,
        transactions_per_block=range(1, 9),
        invalid_share=0.3,
        hostile_share=hostile_share,
        signed=False,
    )
    return tuple(islice(forge(recipe), height))


def sent(blocks: Iterable[ForgedBlock], *functions: str) -> list[Sent]:
    """What clients sent of these functions, each id once, decided naively."""
    owners: dict[str, Sent] = {}
    for block in blocks:
        here: dict[str, Sent] = {}
        for one in block.submissions:
            if one.tx_id and one.function:
                of = Sent(one.tx_id, one.function, one.args, one.code == VALID, block.number)
                if one.tx_id not in here or of.valid:
                    here[one.tx_id] = of
        owners = here | owners
    return [one for one in owners.values() if not functions or one.function in functions]


class GrowingLedger:
    """A ledger in MongoDB to which blocks are added, as the indexer does."""

    def __init__(self, store: LedgerStore) -> None:
        self.store = store
        self.progress = ChannelProgress(CHANNEL, time.monotonic, lambda: datetime.now(UTC))
        self._owned: set[str] = set()

    async def commit(self, blocks: Sequence[ForgedBlock]) -> None:
        """Adds whole blocks."""
        encoded = []
        for forged in blocks:
            block = decode_block(read_block(forged.data))
            owns = decide_owners(block, self._owned)
            self._owned |= {
                claim.tx_id for claim, owner in zip(block.claims, owns, strict=True) if owner
            }
            encoded.append(encode_block(block, owns))
        await self.store.insert_transactions(encoded)
        await self.store.insert_events(encoded)
        await self.store.insert_blocks(encoded)
        self.reveal(blocks[-1].number + 1)

    def reveal(self, height: int) -> None:
        """Says that so many blocks are committed."""
        self.progress.record_peer_height(height)
        self.progress.record_commit(height, blocks=0, transactions=0, events=0, undecodable=0)


def reconciler(
    servers: PostgresServers,
    ledger: GrowingLedger,
    *,
    business: BusinessMapping = KINDLEDGER,
    pace: ReconciliationIntervals = PACE,
    settled: Callable[[set[str]], None] = lambda _: None,
) -> Reconciler:
    """A daemon's reconciliation of that ledger."""

    async def check(connection: Any) -> None:
        await check_schema(connection, load_migrations())

    progress = ReconciliationProgress(CHANNEL, lambda: datetime.now(UTC), lambda: None)
    facts = LedgerFacts(ledger.store, business)
    return Reconciler(
        servers,
        facts,
        business,
        ledger.progress,
        progress,
        check_schema=check,
        settled=settled,
        pace=pace,
    )


@asynccontextmanager
async def reconciling(
    dsn: str, ledger: GrowingLedger, *, replicas: Sequence[str] = (), **options: Any
) -> AsyncIterator[Reconciler]:
    """Runs reconciliation while the context lasts."""
    async with PostgresServers(dsn, replicas, BOUNDS) as servers:
        part = reconciler(servers, ledger, **options)
        running = asyncio.create_task(part.run())
        try:
            yield part
            assert not running.done(), running.exception()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def once(dsn: str, ledger: GrowingLedger, **options: Any) -> Reconciler:
    """Settles and compares everything, as the command does."""
    async with PostgresServers(dsn, (), BOUNDS) as servers:
        part = reconciler(servers, ledger, **options)
        await part.once(everything=True)
        return part


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = WITHIN_S) -> None:
    """Waits until the condition holds."""
    deadline = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.02)


class Gateway:
    """Writes business rows, as KindLedger's applications do."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.connection = connection

    async def open_campaign(
        self, campaign: str = "c1", goal: int = 10**9, hash_: str | None = None
    ) -> str:
        """A campaign with what it belongs to."""
        user = await self.connection.fetchval(
            "INSERT INTO users (username, email, password_hash, full_name, role) VALUES ($1, $1, 'x', 'x', 'CHARITY') "
            "RETURNING id",
            f"u{uuid.uuid4().hex}",
        )
        await self.connection.execute(
            "INSERT INTO campaigns (id, name, owner_id, goal_amount, blockchain_tx_hash) VALUES ($1, $1, $2, $3, $4)",
            campaign,
            user,
            goal,
            hash_,
        )
        return campaign

    async def transaction(self, hash_: str, status: str = "PENDING", **values: Any) -> uuid.UUID:
        """A row of the audit table."""
        return await self._insert(
            "transactions",
            {"tx_hash": hash_, "transaction_type": "DONATE", "status": status, **values},
        )

    async def donation(
        self, hash_: str | None, status: str = "PENDING", **values: Any
    ) -> uuid.UUID:
        """A donation to the campaign c1 unless said otherwise."""
        row = {
            "blockchain_tx_hash": hash_,
            "status": status,
            "campaign_id": "c1",
            "amount": Decimal(1),
            **values,
        }
        return await self._insert("donations", row)

    async def _insert(self, table: str, row: dict[str, Any]) -> uuid.UUID:
        names, places = ", ".join(row), ", ".join(f"${n}" for n in range(1, len(row) + 1))
        key: uuid.UUID = await self.connection.fetchval(
            f"INSERT INTO {table} ({names}) VALUES ({places}) RETURNING id", *row.values()
        )
        return key

    async def note(self, sent_: Iterable[Sent]) -> None:
        """A donation of 1 to the campaign c1 for each, and its row in the audit table."""
        hashes = [(one.tx_id,) for one in sent_]
        await self.connection.executemany(
            "INSERT INTO transactions (tx_hash, transaction_type, campaign_id) VALUES ($1, 'DONATE', 'c1')",
            hashes,
        )
        await self.connection.executemany(
            "INSERT INTO donations (blockchain_tx_hash, campaign_id, amount) VALUES ($1, 'c1', 1)",
            hashes,
        )

    async def count_settlements(self) -> None:
        """Counts from now on how often each row stops to wait."""
        await self.connection.execute(_COUNT_SETTLEMENTS)

    async def assert_settled_once(self, sent_: Sequence[Sent]) -> None:
        """What was noted of these is as the ledger says, and came to it in one step."""
        rows = await self.connection.fetch("SELECT tx_hash, status, block_number FROM transactions")
        assert {tuple(row) for row in rows} == {(one.tx_id, one.state, one.block) for one in sent_}
        rows = await self.connection.fetch("SELECT blockchain_tx_hash, status FROM donations")
        assert {tuple(row) for row in rows} == {(one.tx_id, one.state) for one in sent_}
        raised = await self.connection.fetchval(
            "SELECT raised_amount FROM campaigns WHERE id = 'c1'"
        )
        assert raised == sum(one.valid for one in sent_)
        counts = await self.connection.fetch(
            "SELECT count(*) AS times FROM settlements GROUP BY name, key"
        )
        assert [record["times"] for record in counts] == [1] * (2 * len(sent_))

    async def waiting(self) -> int:
        """How many rows still wait."""
        count: int = await self.connection.fetchval(
            "SELECT (SELECT count(*) FROM transactions WHERE status = 'PENDING') "
            "+ (SELECT count(*) FROM donations WHERE status = 'PENDING')"
        )
        return count

    async def discrepancies(self) -> dict[str, set[str]]:
        """Open ones: subjects by kind."""
        found: dict[str, set[str]] = {}
        for record in await self.connection.fetch(
            "SELECT * FROM ledger_discrepancies WHERE closed_at IS NULL"
        ):
            found.setdefault(record["kind"], set()).add(record["subject"])
        return found


_COUNT_SETTLEMENTS = """
CREATE TABLE settlements (name TEXT, key UUID);
CREATE FUNCTION count_settlement() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.settlements VALUES (TG_TABLE_NAME, NEW.id);
    RETURN NULL;
END
$$;
CREATE TRIGGER counted AFTER UPDATE ON transactions
    FOR EACH ROW WHEN (OLD.status = 'PENDING' AND NEW.status <> 'PENDING') EXECUTE FUNCTION count_settlement();
CREATE TRIGGER counted AFTER UPDATE ON donations
    FOR EACH ROW WHEN (OLD.status = 'PENDING' AND NEW.status <> 'PENDING') EXECUTE FUNCTION count_settlement();
"""
