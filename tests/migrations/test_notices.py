"""PostgreSQL announces new hashes; for another schema the first migration suffices."""

from collections.abc import AsyncIterator

import pytest

from reconciliation.connection import Connection
from tests.eventually import eventually
from tests.migrations.support import connected, migrate

OTHER_SCHEMA = """
CREATE TABLE payments (id SERIAL, "Ledger Id" TEXT, note TEXT);
CREATE TRIGGER announce_new AFTER INSERT ON payments
    REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_notify('Ledger Id');
CREATE TRIGGER announce_changed AFTER UPDATE OF "Ledger Id" ON payments
    FOR EACH ROW EXECUTE FUNCTION ledger_notify('Ledger Id');
"""
INSERT = 'INSERT INTO payments ("Ledger Id") SELECT * FROM unnest($1::text[])'


class Announcements:
    """Executes statements in one session, and receives their announcements in another."""

    def __init__(self, writer: Connection, listener: Connection) -> None:
        self._writer, self._listener = writer, listener
        self._received: list[str] = []

    async def listen(self) -> None:
        await self._listener.add_listener(
            "kindledger_hashes", lambda *arguments: self._received.append(str(arguments[3]))
        )

    async def of(self, statement: str, *values: object) -> list[str]:
        """Return the payloads that a statement announces, sorted."""
        self._received.clear()
        await self._writer.execute(statement, *values)
        await self._writer.execute("SELECT pg_notify('kindledger_hashes', 'the end')")
        await eventually(
            lambda: self._received, lambda received: "the end" in received, poll_s=0.01
        )
        return sorted(self._received[:-1])


@pytest.fixture
async def other_schema(empty_database: str) -> AsyncIterator[Announcements]:
    await migrate(empty_database, 1)
    async with connected(empty_database) as writer, connected(empty_database) as listener:
        await writer.execute(OTHER_SCHEMA)
        announcements = Announcements(writer, listener)
        await announcements.listen()
        yield announcements


async def test_few_hashes_are_announced_one_by_one_and_many_by_an_empty_payload(
    other_schema: Announcements,
) -> None:
    announced_by = other_schema.of
    assert await announced_by(INSERT, ["b", "a", None, "b"]) == ["a", "b"]
    assert await announced_by(INSERT, [None]) == []
    assert await announced_by(INSERT, [f"{number:03}" for number in range(100)] * 2) == [
        f"{n:03}" for n in range(100)
    ]
    assert await announced_by(INSERT, [f"{number:03}" for number in range(101)]) == [""]
    assert await announced_by(INSERT, ["short", "é" * 1001]) == [""]
    assert await announced_by(
        "UPDATE payments SET \"Ledger Id\" = 'x' WHERE \"Ledger Id\" = 'a'"
    ) == ["x"]
    assert (
        await announced_by('UPDATE payments SET "Ledger Id" = NULL WHERE "Ledger Id" = \'x\'') == []
    )
    assert await announced_by("UPDATE payments SET note = 'x'") == []


async def test_the_business_tables_announce_their_hashes(business_database: str) -> None:
    async with connected(business_database) as writer, connected(business_database) as listener:
        announcements = Announcements(writer, listener)
        await announcements.listen()
        campaign = (
            "INSERT INTO campaigns (id, name, goal_amount, blockchain_tx_hash) "
            "VALUES ('c', 'C', 1, 'one')"
        )
        assert await announcements.of(campaign) == ["one"]
        assert (
            await announcements.of("INSERT INTO donations (campaign_id, amount) VALUES ('c', 1)")
            == []
        )
        assert await announcements.of("UPDATE donations SET blockchain_tx_hash = 'two'") == ["two"]
        assert (
            await announcements.of(
                "UPDATE donations SET blockchain_tx_hash = 'two', status = 'FAILED'"
            )
            == []
        )
        transaction = (
            "INSERT INTO transactions (tx_hash, transaction_type) VALUES ('three', 'DONATE')"
        )
        assert await announcements.of(transaction) == ["three"]
        assert await announcements.of("UPDATE transactions SET tx_hash = 'four'") == ["four"]
        assert await announcements.of("UPDATE transactions SET status = 'CONFIRMED'") == []
