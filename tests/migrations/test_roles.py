"""The rights of the roles kindledger_indexer and kindledger_reporter."""

from pathlib import Path

import asyncpg
import pytest

from devnet.servers.postgres import Postgres
from reconciliation.migrations.scripts import MigrationError
from tests.conftest import database_dsn, login_dsn
from tests.migrations.support import NEWEST, connected, migrate

ROWS = """
INSERT INTO campaigns (id, name, goal_amount) VALUES ('c', 'C', 10);
INSERT INTO donations (campaign_id, amount, blockchain_tx_hash) VALUES ('c', 5, 'd1');
INSERT INTO transactions (tx_hash, transaction_type) VALUES ('t1', 'DONATE');
INSERT INTO users (username, email, password_hash, role)
VALUES ('ada', 'ada@example.org', 'secret', 'USER');
"""


async def assert_refused(dsn: str, *statements: str) -> None:
    async with connected(dsn) as connection:
        for statement in statements:
            try:
                await connection.execute(statement)
            except asyncpg.InsufficientPrivilegeError:
                continue
            pytest.fail(f"allowed: {statement}")


async def test_the_indexer_has_only_the_rights_to_settle(
    business_database: str, indexer_dsn: str
) -> None:
    async with connected(business_database) as owner, connected(indexer_dsn) as indexer:
        await owner.execute(ROWS)
        settled = "status = 'CONFIRMED', confirmed_at = now()"
        assert (
            await indexer.execute(f"UPDATE donations SET {settled} WHERE blockchain_tx_hash = 'd1'")
            == "UPDATE 1"
        )
        assert (
            await indexer.execute(
                f"UPDATE transactions SET {settled}, block_number = 7 WHERE tx_hash = 't1'"
            )
            == "UPDATE 1"
        )
        assert await indexer.fetchval("SELECT raised_amount FROM campaigns") == 5, (
            "the trigger has the right that the indexer lacks"
        )
        await indexer.execute(
            "INSERT INTO ledger_cursor VALUES ('ch', 1, 'h') "
            "ON CONFLICT (channel) DO UPDATE SET height = 2;"
            "INSERT INTO ledger_discrepancies (channel, kind, subject, tx_hash, ledger, found) "
            "VALUES ('ch', 'missing_row', 't', 't', '{}', '{}')"
        )
    await assert_refused(
        indexer_dsn,
        "UPDATE campaigns SET raised_amount = 0",
        "UPDATE donations SET amount = 1",
        "UPDATE transactions SET tx_hash = 'x'",
        "INSERT INTO transactions (tx_hash, transaction_type) VALUES ('x', 'DONATE')",
        "INSERT INTO donations (campaign_id, amount) VALUES ('c', 1)",
        "DELETE FROM donations",
        "TRUNCATE donations",
        "DELETE FROM ledger_discrepancies",
        "DELETE FROM ledger_cursor",
        "UPDATE kindledger_migrations SET checksum = ''",
        "SELECT donor_email FROM donations",
        "SELECT raw_data FROM transactions",
        "SELECT metadata FROM campaigns",
        "SELECT id FROM users",
        "SELECT id FROM organizations",
        "CREATE TABLE own ()",
    )


async def test_the_rights_of_the_triggers_cannot_be_used_by_other_tables(indexer_dsn: str) -> None:
    async with connected(indexer_dsn) as indexer:
        await indexer.execute(
            "CREATE TEMPORARY TABLE forged (campaign_id TEXT, amount NUMERIC, status TEXT)"
        )
        for operation in ("insert", "update", "delete"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await indexer.execute(
                    f"CREATE TRIGGER forge AFTER {operation} ON forged "
                    f"FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_raised_amount_{operation}()"
                )


async def test_the_reporter_reads_and_cannot_write(
    business_database: str, reporter_dsn: str
) -> None:
    tables = (
        "campaigns",
        "donations",
        "transactions",
        "organizations",
        "ledger_cursor",
        "ledger_discrepancies",
    )
    async with connected(business_database) as owner, connected(reporter_dsn) as reporter:
        await owner.execute(ROWS)
        for name in (*tables, "campaign_summary", "donor_statistics"):
            await reporter.fetch(f"SELECT * FROM {name}")
        assert await reporter.fetchval("SELECT username FROM users") == "ada"
        assert await reporter.fetchval("SELECT name FROM campaign_summary") == "C"
    writes = [
        write
        for name in tables
        for write in (f"DELETE FROM {name}", f"INSERT INTO {name} DEFAULT VALUES")
    ]
    await assert_refused(
        reporter_dsn,
        *writes,
        "UPDATE donations SET status = 'CONFIRMED'",
        "UPDATE transactions SET status = 'CONFIRMED'",
        "UPDATE campaigns SET raised_amount = 0",
        "SELECT password_hash FROM users",
        "SELECT * FROM users",
    )


async def test_the_roles_get_policies_where_row_level_security_is_on(
    business_database: str, indexer_dsn: str, reporter_dsn: str
) -> None:
    await migrate(business_database, NEWEST - 1)
    async with connected(business_database) as owner, connected(indexer_dsn) as indexer:
        await owner.execute(ROWS)
        for table in ("donations", "transactions", "users"):
            await owner.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        _, announced = await migrate(business_database, NEWEST)
        assert len([line for line in announced if "row-level security is on for" in line]) == 3
        assert await indexer.execute("UPDATE donations SET status = 'CONFIRMED'") == "UPDATE 1"
        assert await indexer.execute("UPDATE transactions SET status = 'FAILED'") == "UPDATE 1"
        async with connected(reporter_dsn) as reporter:
            assert await reporter.fetchval("SELECT count(*) FROM users") == 1
        await migrate(business_database, NEWEST - 1)
        assert (
            await owner.fetch("SELECT FROM pg_policies WHERE policyname LIKE 'kindledger%'") == []
        )


async def test_roles_are_shared_by_the_databases_of_a_cluster(tmp_path: Path) -> None:
    async def roles() -> list[str]:
        rows = await superuser.fetch(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'kindledger%' ORDER BY rolname"
        )
        return [row["rolname"] for row in rows]

    with Postgres(tmp_path) as server:
        one, two = database_dsn(server.dsn, "one"), database_dsn(server.dsn, "two")
        owned = login_dsn(database_dsn(server.dsn, "owned"), "owner")
        async with connected(server.dsn) as superuser:
            await superuser.execute("CREATE ROLE owner LOGIN PASSWORD 'owner'")
            for statement in (
                "CREATE DATABASE one",
                "CREATE DATABASE two",
                "CREATE DATABASE owned OWNER owner",
            ):
                await superuser.execute(statement)
            await migrate(one, NEWEST)
            await migrate(two, NEWEST)
            _, announced = await migrate(one, 0)
            assert any("role kindledger_indexer stays" in line for line in announced)
            assert await roles() == ["kindledger_indexer", "kindledger_reporter"]
            await migrate(two, 0)
            assert await roles() == []

            with pytest.raises(
                MigrationError, match=r"0006_roles: .*owner may not.*CREATE ROLE kindledger_indexer"
            ):
                await migrate(owned, NEWEST)
            await superuser.execute(
                "CREATE ROLE kindledger_indexer; CREATE ROLE kindledger_reporter"
            )
            await migrate(owned, NEWEST)
            await migrate(owned, 0)
            assert await roles() == ["kindledger_indexer", "kindledger_reporter"]
