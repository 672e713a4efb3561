"""No statement scans a table with a million settled rows, whether or not its size is known."""

import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from reconciliation.ledger_transactions import BATCH_TRANSACTIONS
from reconciliation.mapping import KINDLEDGER
from reconciliation.postgres_servers import PostgresServers
from reconciliation.schema_check import checked_statements
from reconciliation.statements import array_text
from reconciliation.sweeper import PAGE_ROWS
from tests.reconciliation.running import POOL_OPTIONS

ROWS, PENDING = 1_000_000, 300
FILL = f"""
ALTER TABLE transactions DISABLE TRIGGER USER;
ALTER TABLE transactions SET (autovacuum_enabled = off);
DROP INDEX kindledger_transactions_raw_data, kindledger_transactions_created,
    kindledger_transactions_campaign_type_status;
INSERT INTO transactions (tx_hash, transaction_type, status, block_number)
SELECT lpad(to_hex(n), 64, '0'), 'DONATE',
    CASE WHEN n % {ROWS // PENDING} = 0 THEN 'PENDING' ELSE 'CONFIRMED' END, n
FROM generate_series(1, {ROWS}) AS n
"""
"""Indexes that no statement uses are dropped, because they make the insertion slower."""


def scans(plan: Any) -> Iterator[tuple[str, str]]:
    """Yield the type of each scan in the plan, and its relation."""
    if "Relation Name" in plan:
        yield plan["Node Type"], plan["Relation Name"]
    for part in plan.get("Plans", ()):
        yield from scans(part)


def literal(value: Any) -> str:
    """Return the value as SQL, for EXECUTE of a prepared statement."""
    match value:
        case None:
            return "NULL"
        case list():
            return f"ARRAY[{', '.join(map(literal, value))}]"
        case float():
            return str(value)
    return f"'{value}'"


@pytest.mark.long
async def test_no_statement_scans_a_million_settled_rows(
    business_database: str, indexer_dsn: str
) -> None:
    owner = await asyncpg.connect(business_database)
    await owner.execute(FILL)
    table = KINDLEDGER.tables[0]
    step = ROWS // BATCH_TRANSACTIONS
    hashes = [f"{n:064x}" for n in range(step, ROWS + step, step)]
    keys = await owner.fetchval(
        "SELECT array_agg(id::text) FROM (SELECT id FROM transactions LIMIT $1) t", PAGE_ROWS
    )
    common = (list(KINDLEDGER.placeholders), 120.0)
    facts = [array_text([value] * len(hashes)) for value in (True, 7, 1_767_225_600_000)]
    settling = (common[0], hashes, *facts, "PENDING", "CONFIRMED", "FAILED")
    async with (
        PostgresServers(indexer_dsn, (), POOL_OPTIONS) as servers,
        servers.primary.acquire() as connection,
    ):
        statements = (await checked_statements(connection, KINDLEDGER))[table.name]
        executions: dict[str, tuple[str, tuple[Any, ...]]] = {
            "sweep": (statements.pending_page, (*common, None, PAGE_ROWS, "PENDING")),
            "sweep, next page": (
                statements.pending_page,
                (*common, keys[-1], PAGE_ROWS, "PENDING"),
            ),
            "settle": (statements.settle, settling),
            "settle unlocked rows": (statements.settle_unlocked, settling),
            "by hash": (statements.by_hash, (*common, hashes)),
            "by key": (statements.by_key, (*common, keys)),
            "page": (statements.page, (*common, None, PAGE_ROWS)),
            "next page": (statements.page, (*common, keys[-1], PAGE_ROWS)),
            "count": (statements.count_pending, (*common, "PENDING")),
        }
        for when in ("before", "after"):
            if when == "after":
                await owner.execute("ANALYZE transactions")
            for name, (sql, values) in executions.items():
                await connection.execute(f"PREPARE planned AS {sql}")
                explain = (
                    f"EXPLAIN (FORMAT JSON) EXECUTE planned ({', '.join(map(literal, values))})"
                )
                explained = json.loads(await connection.fetchval(explain))
                await connection.execute("DEALLOCATE planned")
                scan_types = [
                    scan_type
                    for scan_type, relation in scans(explained[0]["Plan"])
                    if relation == "transactions" and scan_type != "ModifyTable"
                ]
                assert scan_types, name
                assert "Seq Scan" not in scan_types, f"{name} {when} ANALYZE"
    await owner.close()
