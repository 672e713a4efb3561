"""New hashes are announced, with no more than the first migration: as for a schema of another shape."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from reconciliation.connection import Connection
from tests.migrations.support import connected, migrate

OWN_TABLE = """
CREATE TABLE payments (id SERIAL, "Ledger Id" TEXT, note TEXT);
CREATE TRIGGER announce_new AFTER INSERT ON payments
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION ledger_notify('Ledger Id');
CREATE TRIGGER announce_changed AFTER UPDATE OF "Ledger Id" ON payments
    FOR EACH ROW EXECUTE FUNCTION ledger_notify('Ledger Id');
"""
INSERT = 'INSERT INTO payments ("Ledger Id") SELECT * FROM unnest($1::text[])'


class Ear:
    """What one session does, and what another hears of it."""

    def __init__(self, speaker: Connection, listener: Connection) -> None:
        self._speaker, self._listener = speaker, listener
        self._heard: list[str] = []

    async def listen(self) -> None:
        await self._listener.add_listener(
            "kindledger_hashes", lambda *heard: self._heard.append(str(heard[3]))
        )

    async def hears(self, statement: str, *values: object) -> list[str]:
        """The payloads of one statement, in order."""
        self._heard.clear()
        await self._speaker.execute(statement, *values)
        await self._speaker.execute("SELECT pg_notify('kindledger_hashes', 'the end')")
        async with asyncio.timeout(10):
            while "the end" not in self._heard:  # noqa: ASYNC110 - it comes from PostgreSQL
                await asyncio.sleep(0.01)
        return sorted(self._heard[:-1])


@pytest.fixture
async def another_shape(empty_database: str) -> AsyncIterator[Ear]:
    await migrate(empty_database, 1)
    async with connected(empty_database) as speaker, connected(empty_database) as listener:
        await speaker.execute(OWN_TABLE)
        ear = Ear(speaker, listener)
        await ear.listen()
        yield ear


async def test_hashes_are_announced_one_by_one_and_many_as_a_sweep(another_shape: Ear) -> None:
    hears = another_shape.hears
    assert await hears(INSERT, ["b", "a", None, "b"]) == ["a", "b"]
    assert await hears(INSERT, [None]) == []
    assert await hears(INSERT, [f"{number:03}" for number in range(100)] * 2) == [
        f"{n:03}" for n in range(100)
    ]
    assert await hears(INSERT, [f"{number:03}" for number in range(101)]) == [""]
    assert await hears(INSERT, ["short", "é" * 1001]) == [""]
    assert await hears("UPDATE payments SET \"Ledger Id\" = 'x' WHERE \"Ledger Id\" = 'a'") == ["x"]
    assert await hears('UPDATE payments SET "Ledger Id" = NULL WHERE "Ledger Id" = \'x\'') == []
    assert await hears("UPDATE payments SET note = 'x'") == []


async def test_the_business_tables_announce_theirs(business_database: str) -> None:
    async with connected(business_database) as speaker, connected(business_database) as listener:
        ear = Ear(speaker, listener)
        await ear.listen()
        campaign = "INSERT INTO campaigns (id, name, goal_amount, blockchain_tx_hash) VALUES ('c', 'C', 1, 'one')"
        assert await ear.hears(campaign) == ["one"]
        assert await ear.hears("INSERT INTO donations (campaign_id, amount) VALUES ('c', 1)") == []
        assert await ear.hears("UPDATE donations SET blockchain_tx_hash = 'two'") == ["two"]
        assert (
            await ear.hears("UPDATE donations SET blockchain_tx_hash = 'two', status = 'FAILED'")
            == []
        )
        transaction = (
            "INSERT INTO transactions (tx_hash, transaction_type) VALUES ('three', 'DONATE')"
        )
        assert await ear.hears(transaction) == ["three"]
        assert await ear.hears("UPDATE transactions SET tx_hash = 'four'") == ["four"]
        assert await ear.hears("UPDATE transactions SET status = 'CONFIRMED'") == []
