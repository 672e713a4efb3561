"""An existing business schema: migrations adopt it, and their reversal restores it."""

from typing import Any

import pytest

from reconciliation.connection import Connection
from reconciliation.migrations.scripts import MigrationError
from tests.migrations.support import NEWEST, connected, migrate, schema_lines

TABLES = ("organizations", "users", "campaigns", "donations", "transactions")

# A schema of an application: it has other types, more columns and an index of its own, and its
# triggers count donations only when they are inserted.
EXISTING = """
CREATE TYPE donation_status AS ENUM ('PENDING', 'CONFIRMED', 'FAILED', 'REFUNDED');
CREATE TABLE organizations (id SERIAL PRIMARY KEY, name TEXT);
CREATE TABLE users (
    id SERIAL PRIMARY KEY, username TEXT, password_hash TEXT, full_name TEXT,
    organization_id INTEGER, recovery_code TEXT
);
CREATE TABLE campaigns (
    id TEXT PRIMARY KEY, name TEXT, owner_id INTEGER, organization_id INTEGER, goal_amount NUMERIC,
    raised_amount NUMERIC DEFAULT 0, status TEXT DEFAULT 'OPEN', start_date DATE, end_date DATE,
    created_at TIMESTAMP DEFAULT now(), updated_at TIMESTAMP, blockchain_tx_hash TEXT,
    metadata JSONB
);
CREATE TABLE donations (
    id SERIAL PRIMARY KEY, campaign_id TEXT, donor_id INTEGER, donor_name TEXT, amount NUMERIC,
    status donation_status DEFAULT 'PENDING', donated_at TIMESTAMP DEFAULT now(),
    confirmed_at TIMESTAMP, blockchain_tx_hash TEXT, metadata JSONB,
    is_anonymous BOOLEAN, gift_wrapped BOOLEAN DEFAULT true
);
CREATE INDEX own_donations_by_hash ON donations (blockchain_tx_hash);
CREATE TABLE transactions (
    id SERIAL PRIMARY KEY, tx_hash TEXT UNIQUE, block_number BIGINT, campaign_id TEXT,
    transaction_type TEXT, amount NUMERIC, status TEXT, created_at TIMESTAMP DEFAULT now(),
    confirmed_at TIMESTAMP, raw_data JSONB
);
CREATE FUNCTION count_donation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE campaigns SET raised_amount = raised_amount + NEW.amount WHERE id = NEW.campaign_id;
    RETURN NEW;
END
$$;
CREATE TRIGGER count_donation AFTER INSERT ON donations
    FOR EACH ROW EXECUTE FUNCTION count_donation();
CREATE TRIGGER count_donation_again AFTER INSERT ON donations
    FOR EACH ROW EXECUTE FUNCTION count_donation();
ALTER TABLE donations DISABLE TRIGGER count_donation_again;
CREATE FUNCTION trim_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.donor_name := trim(NEW.donor_name);
    RETURN NEW;
END
$$;
CREATE TRIGGER trim_name BEFORE INSERT ON donations FOR EACH ROW EXECUTE FUNCTION trim_name();
INSERT INTO users (username, password_hash, recovery_code) VALUES ('ada', 'secret', 'secret too');
INSERT INTO campaigns (id, name, goal_amount) VALUES
    ('wrong', 'W', 100), ('reached', 'R', 50), ('right', 'T', 100);
INSERT INTO donations (campaign_id, amount, status) VALUES
    ('wrong', 10, 'CONFIRMED'), ('wrong', 20, 'PENDING'),
    ('reached', 40, 'PENDING'), ('right', 30, 'CONFIRMED');
UPDATE donations SET status = 'CONFIRMED' WHERE campaign_id = 'reached';
UPDATE donations SET amount = 60 WHERE campaign_id = 'reached';
INSERT INTO transactions (tx_hash, transaction_type, status) VALUES ('ab', 'DONATE', 'PENDING');
"""


@pytest.fixture
async def existing(empty_database: str) -> str:
    async with connected(empty_database) as connection:
        await connection.execute(EXISTING)
    return empty_database


async def rows(dsn: str) -> dict[str, list[dict[str, Any]]]:
    async with connected(dsn) as connection:
        return {
            table: list(map(dict, await connection.fetch(f"SELECT * FROM {table} ORDER BY id")))
            for table in TABLES
        }


async def amounts(connection: Connection) -> dict[str, tuple[int, str]]:
    found = await connection.fetch("SELECT id, raised_amount, status FROM campaigns")
    return {row["id"]: (row["raised_amount"], row["status"]) for row in found}


async def test_existing_data_stays_and_wrong_amounts_are_corrected(existing: str) -> None:
    before, schema = await rows(existing), await schema_lines(existing)
    _, announced = await migrate(existing, NEWEST)
    after = await rows(existing)
    for table in TABLES:
        if table != "campaigns":
            assert after[table] == before[table]
    changed = {"raised_amount", "status", "updated_at"}
    assert [{key: row[key] for key in row.keys() - changed} for row in after["campaigns"]] == [
        {key: row[key] for key in row.keys() - changed} for row in before["campaigns"]
    ]
    removed = {
        line for line in schema - await schema_lines(existing) if not line.startswith("grants ")
    }
    assert removed == {line for line in schema if line.startswith("CREATE TRIGGER count_donation")}

    for words in (
        "table donations exists and is adopted",
        "trigger count_donation on donations is replaced",
        "trigger count_donation_again on donations is replaced",
        "raised_amount of 2 campaigns",
        "index kindledger_donations_hash equals own_donations_by_hash",
    ):
        assert any(words in line for line in announced), (words, announced)
    async with connected(existing) as connection:
        assert await amounts(connection) == {
            "wrong": (10, "OPEN"),
            "reached": (60, "COMPLETED"),
            "right": (30, "OPEN"),
        }
        await connection.execute(
            "UPDATE donations SET status = 'CONFIRMED' WHERE campaign_id = 'wrong'"
        )
        await connection.execute("INSERT INTO donations (campaign_id, amount) VALUES ('right', 5)")
        assert await amounts(connection) == {
            "wrong": (30, "OPEN"),
            "reached": (60, "COMPLETED"),
            "right": (30, "OPEN"),
        }
        assert await connection.fetchval("SELECT password_hash FROM users") == "secret"


async def test_down_restores_what_was_replaced(existing: str) -> None:
    before, schema = await rows(existing), await schema_lines(existing)
    await migrate(existing, NEWEST)
    _, announced = await migrate(existing, 0)
    differing = {
        line
        for line in schema ^ await schema_lines(existing)
        if "kindledger_migrations" not in line
    }
    assert all(line.startswith("grants ") for line in differing), differing
    assert not any("kindledger_" in line for line in differing), "no right remains"
    assert any("trigger count_donation on donations is back" in line for line in announced)
    after = await rows(existing)
    for row in before["campaigns"] + after["campaigns"]:
        del row["updated_at"]
    assert after == before


async def test_down_keeps_amounts_that_have_changed_since(existing: str) -> None:
    await migrate(existing, NEWEST)
    async with connected(existing) as connection:
        await connection.execute(
            "INSERT INTO donations (campaign_id, amount, status) VALUES ('wrong', 1, 'CONFIRMED')"
        )
        await migrate(existing, 0)
        assert await amounts(connection) == {
            "wrong": (11, "OPEN"),
            "reached": (40, "OPEN"),
            "right": (30, "OPEN"),
        }


async def test_a_table_that_lacks_a_column_is_named_and_nothing_is_changed(existing: str) -> None:
    async with connected(existing) as connection:
        await connection.execute(
            "ALTER TABLE donations DROP blockchain_tx_hash; ALTER TABLE campaigns DROP metadata"
        )
    schema = await schema_lines(existing)
    with pytest.raises(
        MigrationError,
        match=r"table campaigns lacks column metadata; "
        r"table donations lacks column blockchain_tx_hash.*migrate to 1",
    ):
        await migrate(existing, NEWEST)
    added = await schema_lines(existing) - schema
    assert not {
        line for line in added if "kindledger_migrations" not in line and "ledger_" not in line
    }


async def test_a_view_that_exists_stays(existing: str) -> None:
    async with connected(existing) as connection:
        await connection.execute("CREATE VIEW campaign_summary AS SELECT 1 AS own")
        await migrate(existing, NEWEST)
        await migrate(existing, 0)
        assert await connection.fetchval("SELECT own FROM campaign_summary") == 1


async def test_down_drops_no_table_with_rows(business_database: str) -> None:
    async with connected(business_database) as connection:
        await connection.execute(
            "INSERT INTO campaigns (id, name, goal_amount) VALUES ('c', 'C', 1)"
        )
    with pytest.raises(
        MigrationError, match=r"table public.campaigns holds rows and is not dropped"
    ):
        await migrate(business_database, 0)
    assert [row["id"] for row in (await rows(business_database))["campaigns"]] == ["c"]
