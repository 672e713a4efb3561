"""`python -m benchmarks.reconciliation`: settles a backlog of rows, compared with a bare UPDATE.

There are two backlogs: rows of the audit table, and donations that each have a row in the audit
table, so that the trigger that maintains `raised_amount` runs too. In each round both methods run
on a new copy of the same database.
"""

import asyncio
import statistics
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import bson
import click
from msgspec import Struct
from pymongo import AsyncMongoClient

from devnet.forge.forger import Recipe, forge
from devnet.servers import Mongod, Postgres
from indexer.progress.channel_progress import ChannelProgress
from ledger.decoding.blocks import decode_block, read_block
from ledger.documents.encoding import encode_block
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.store import LedgerStore
from ledger.position import BlockNumber, Height, pack_position
from reconciliation.ledger_transactions import LedgerTransactions
from reconciliation.mapping import KINDLEDGER
from reconciliation.migrations.migrator import Migrator, check_schema
from reconciliation.migrations.scripts import load_migrations
from reconciliation.postgres_servers import PostgresServers
from reconciliation.reconciler import Reconciler
from reconciliation.reconciliation_progress import ReconciliationProgress
from runtime.process import tune_process
from runtime.process_start import prepare_libraries

_CHANNEL: Final = "kindledger"
_PER_BLOCK: Final = 500
_CAMPAIGNS: Final = 200
_AUDIT_ROWS = """
INSERT INTO transactions (tx_hash, campaign_id, transaction_type, amount, status)
SELECT hash, 'c' || n % $2, 'DONATE', $3, 'PENDING'
FROM unnest($1::text[]) WITH ORDINALITY AS t(hash, n)
"""
_DONATION_ROWS = """
INSERT INTO donations (blockchain_tx_hash, campaign_id, amount, status)
SELECT hash, 'c' || n % $2, $3, 'PENDING' FROM unnest($1::text[]) WITH ORDINALITY AS t(hash, n)
"""
_BARE_AUDIT = """
UPDATE transactions t SET status = 'CONFIRMED', block_number = f.block, confirmed_at = now()
FROM unnest($1::text[], $2::int8[]) AS f(hash, block)
WHERE t.tx_hash = f.hash AND t.status = 'PENDING'
"""
_BARE_DONATIONS = """
UPDATE donations t SET status = 'CONFIRMED', confirmed_at = now()
FROM unnest($1::text[]) AS f(hash) WHERE t.blockchain_tx_hash = f.hash AND t.status = 'PENDING'
"""


class Backlog(Struct, frozen=True):
    """A number of transactions with audit rows, and whether each transaction has a donation row."""

    name: str
    transactions: int
    donations: bool

    @property
    def rows(self) -> int:
        """The number of pending rows."""
        return self.transactions * (2 if self.donations else 1)


@click.command()
@click.option("--rows", default=200_000, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(*, rows: int, rounds: int) -> None:
    """Measure rows settled per second, and the ratio to a bare UPDATE."""
    prepare_libraries()
    tune_process()
    backlogs = [
        Backlog("audit rows", rows, donations=False),
        Backlog("donations with audit rows", rows // 2, donations=True),
    ]
    with (
        tempfile.TemporaryDirectory(prefix="kindledger-bench-") as folder,
        Mongod(Path(folder) / "mongo") as mongod,
        Postgres(Path(folder) / "postgres") as postgres,
    ):
        for backlog in backlogs:
            asyncio.run(_measure(backlog, mongod.uri, postgres.dsn, rounds))


async def _measure(backlog: Backlog, mongo_uri: str, dsn: str, rounds: int) -> None:
    hashes = [uuid.uuid4().hex * 2 for _ in range(backlog.transactions)]
    async with AsyncMongoClient[dict[str, Any]](mongo_uri, tz_aware=True) as client:
        store = LedgerStore(client, f"bench{backlog.transactions}")
        height = await _write_ledger(store, hashes)
        template = await _write_rows(dsn, backlog, hashes)
        bare, settled = [], []
        for _ in range(rounds):
            bare.append(await _bare(await _copy(dsn, template), backlog, hashes))
            settled.append(await _settle(await _copy(dsn, template), store, height))
    ratios = [limit / measured for limit, measured in zip(bare, settled, strict=True)]
    rate, limit = (backlog.rows / statistics.median(seconds) for seconds in (settled, bare))
    columns = (
        backlog.name,
        f"{backlog.rows:,}",
        f"{rate:,.0f}",
        f"{limit:,.0f}",
        f"{statistics.median(ratios):.2f}",
    )
    sys.stdout.write(f"| {' | '.join(columns)} |\n")
    sys.stdout.flush()


async def _write_ledger(store: LedgerStore, hashes: list[str]) -> int:
    """Write copies of a forged donation with the given ids, 500 per block; return the height."""
    await store.prepare()
    transaction, event, block = _donation()
    for number, first in enumerate(range(0, len(hashes), _PER_BLOCK)):
        positions = [
            (pack_position(number, index), tx_id)
            for index, tx_id in enumerate(hashes[first : first + _PER_BLOCK])
        ]
        own = [
            {"_id": position, "txId": tx_id, "blockNumber": number, "txIndex": index}
            for index, (position, tx_id) in enumerate(positions)
        ]
        await store.database[TRANSACTIONS].insert_many(
            [transaction | fields for fields in own], ordered=False
        )
        await store.database[EVENTS].insert_many([event | fields for fields in own], ordered=False)
        document = block | {
            "_id": number,
            "number": number,
            "transactionCount": len(own),
            "blockHash": f"{number:064x}",
        }
        await store.database[BLOCKS].insert_one(document)
    return number + 1


def _donation() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the documents of a forged donation: transaction, event and block."""
    for forged in forge(Recipe(bulk=True, signed=False)):
        decoded = decode_block(read_block(forged.data))
        encoded = encode_block(decoded, [True] * len(decoded.codes))
        for transaction, event in zip(encoded.transactions, encoded.events, strict=False):
            if transaction.get("function") == "Donate" and event["_id"] == transaction["_id"]:
                return (
                    bson.decode(transaction.raw),
                    bson.decode(event.raw),
                    bson.decode(encoded.block.raw),
                )
    raise AssertionError("the chain has donations")


async def _write_rows(dsn: str, backlog: Backlog, hashes: list[str]) -> str:
    """Create a database with the pending rows; return its name."""
    name = f"backlog{backlog.transactions}"
    connection = await _new_database(dsn, name)
    await Migrator(connection, load_migrations(), lambda _: None, program="bench").up()
    await connection.execute(
        "WITH u AS (INSERT INTO users (username, email, password_hash, full_name, role) "
        "VALUES ('u', 'u', 'x', 'u', 'CHARITY') RETURNING id) "
        "INSERT INTO campaigns (id, name, owner_id, goal_amount) "
        "SELECT 'c' || n, 'c', u.id, 1000000000 FROM u, generate_series(0, $1 - 1) AS n",
        _CAMPAIGNS,
    )
    amount = _donation()[1]["payload"]["amount"]
    await connection.execute(_AUDIT_ROWS, hashes, _CAMPAIGNS, amount)
    if backlog.donations:
        await connection.execute(_DONATION_ROWS, hashes, _CAMPAIGNS, amount)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    return name


async def _new_database(
    dsn: str, name: str, template: str = "template1"
) -> "asyncpg.Connection[asyncpg.Record]":
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    await connection.execute("CHECKPOINT")
    await connection.close()
    return await asyncpg.connect(_dsn_of(dsn, name))


def _dsn_of(dsn: str, name: str) -> str:
    return f"{dsn.rpartition('/')[0]}/{name}"


async def _copy(dsn: str, template: str) -> str:
    await (await _new_database(dsn, "measured", template)).close()
    return _dsn_of(dsn, "measured")


async def _bare(dsn: str, backlog: Backlog, hashes: list[str]) -> float:
    connection = await asyncpg.connect(dsn)
    blocks = [index // _PER_BLOCK for index in range(len(hashes))]
    began = time.perf_counter()
    await connection.execute(_BARE_AUDIT, hashes, blocks)
    if backlog.donations:
        await connection.execute(_BARE_DONATIONS, hashes)
    seconds = time.perf_counter() - began
    await connection.close()
    return seconds


async def _settle(dsn: str, store: LedgerStore, height: int) -> float:
    """Return the seconds from the first read of the ledger until its height is reconciled."""
    ledger = ChannelProgress(_CHANNEL, time.monotonic, lambda: datetime.now(UTC))
    ledger.record_peer_height(Height(height))
    ledger.resume(BlockNumber(0), Height(height))
    progress = ReconciliationProgress(_CHANNEL, lambda: datetime.now(UTC), lambda: None)

    async def check(connection: Any) -> None:
        await check_schema(connection, load_migrations())

    async with PostgresServers(dsn) as servers:
        transactions = LedgerTransactions(store, KINDLEDGER)
        reconciler = Reconciler(
            servers,
            transactions,
            KINDLEDGER,
            ledger,
            progress,
            check_schema=check,
            rows_settled=lambda _: None,
        )
        began = time.perf_counter()
        running = asyncio.create_task(reconciler.run())
        while progress.height < height:  # noqa: ASYNC110 - progress is observed from outside
            await asyncio.sleep(0.01)
        seconds = time.perf_counter() - began
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return seconds


if __name__ == "__main__":
    main()
