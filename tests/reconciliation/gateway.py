"""A gateway that writes business rows, as KindLedger's applications do."""

import uuid
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import asyncpg

from tests.eventually import LIMIT_S, eventually
from tests.reconciliation.growing_ledger import SubmittedTransaction


class Gateway:
    """Writes rows by one connection, and reads what became of them."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.connection = connection

    async def open_campaign(
        self, campaign: str = "c1", goal: int = 10**9, hash_: str | None = None
    ) -> str:
        """Insert a campaign and its owner, and return its key."""
        user = await self.connection.fetchval(
            "INSERT INTO users (username, email, password_hash, full_name, role) "
            "VALUES ($1, $1, 'x', 'x', 'CHARITY') RETURNING id",
            f"u{uuid.uuid4().hex}",
        )
        await self.connection.execute(
            "INSERT INTO campaigns (id, name, owner_id, goal_amount, blockchain_tx_hash) "
            "VALUES ($1, $1, $2, $3, $4)",
            campaign,
            user,
            goal,
            hash_,
        )
        return campaign

    async def transaction(self, hash_: str, status: str = "PENDING", **values: Any) -> uuid.UUID:
        """Insert a row into the audit table, and return its key."""
        row = {"tx_hash": hash_, "transaction_type": "DONATE", "status": status, **values}
        return await self._insert("transactions", row)

    async def donation(
        self, hash_: str | None, status: str = "PENDING", **values: Any
    ) -> uuid.UUID:
        """Insert a donation, to the campaign c1 by default, and return its key."""
        row = {
            "blockchain_tx_hash": hash_,
            "status": status,
            "campaign_id": "c1",
            "amount": Decimal(1),
            **values,
        }
        return await self._insert("donations", row)

    async def _insert(self, table: str, row: dict[str, Any]) -> uuid.UUID:
        names = ", ".join(row)
        parameters = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        key: uuid.UUID = await self.connection.fetchval(
            f"INSERT INTO {table} ({names}) VALUES ({parameters}) RETURNING id", *row.values()
        )
        return key

    async def write_rows(self, transactions: Iterable[SubmittedTransaction]) -> None:
        """Insert for each a donation of 1 to the campaign c1, and a row into the audit table."""
        hashes = [(transaction.tx_id,) for transaction in transactions]
        await self.connection.executemany(
            "INSERT INTO transactions (tx_hash, transaction_type, campaign_id) "
            "VALUES ($1, 'DONATE', 'c1')",
            hashes,
        )
        await self.connection.executemany(
            "INSERT INTO donations (blockchain_tx_hash, campaign_id, amount) VALUES ($1, 'c1', 1)",
            hashes,
        )

    async def count_settlements(self) -> None:
        """Count from now on how often each row is settled."""
        await self.connection.execute(_COUNT_SETTLEMENTS)

    async def assert_settled_once(self, transactions: Sequence[SubmittedTransaction]) -> None:
        """Assert that the rows of `write_rows` agree with the ledger, and were settled once."""
        rows = await self.connection.fetch("SELECT tx_hash, status, block_number FROM transactions")
        assert {tuple(row) for row in rows} == {
            (transaction.tx_id, transaction.state, transaction.block)
            for transaction in transactions
        }
        rows = await self.connection.fetch("SELECT blockchain_tx_hash, status FROM donations")
        assert {tuple(row) for row in rows} == {
            (transaction.tx_id, transaction.state) for transaction in transactions
        }
        raised = await self.connection.fetchval(
            "SELECT raised_amount FROM campaigns WHERE id = 'c1'"
        )
        assert raised == sum(transaction.valid for transaction in transactions)
        counts = await self.connection.fetch(
            "SELECT count(*) AS times FROM settlements GROUP BY name, key"
        )
        assert [record["times"] for record in counts] == [1] * (2 * len(transactions))

    async def pending_rows(self) -> int:
        """Return the number of rows that wait for the ledger or the gateway."""
        count: int = await self.connection.fetchval(
            "SELECT (SELECT count(*) FROM transactions WHERE status = 'PENDING') "
            "+ (SELECT count(*) FROM donations WHERE status = 'PENDING')"
        )
        return count

    async def wait_for_pending_rows(self, expected: int, within_s: float = LIMIT_S) -> None:
        """Wait until so many rows are pending."""
        await eventually(
            self.pending_rows,
            lambda count: count == expected,
            within_s=within_s,
            describe=f"{expected} pending rows",
        )

    async def wait_until_settled(self, within_s: float = LIMIT_S) -> None:
        """Wait until no row is pending."""
        await self.wait_for_pending_rows(0, within_s)

    async def discrepancies(self) -> dict[str, set[str]]:
        """Return the subjects of the open discrepancies by kind."""
        subjects: dict[str, set[str]] = {}
        for record in await self.connection.fetch(
            "SELECT * FROM ledger_discrepancies WHERE closed_at IS NULL"
        ):
            subjects.setdefault(record["kind"], set()).add(record["subject"])
        return subjects


_COUNT_SETTLEMENTS = """
CREATE TABLE settlements (name TEXT, key UUID);
CREATE FUNCTION count_settlement() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.settlements VALUES (TG_TABLE_NAME, NEW.id);
    RETURN NULL;
END
$$;
CREATE TRIGGER counted AFTER UPDATE ON transactions
    FOR EACH ROW WHEN (OLD.status = 'PENDING' AND NEW.status <> 'PENDING')
    EXECUTE FUNCTION count_settlement();
CREATE TRIGGER counted AFTER UPDATE ON donations
    FOR EACH ROW WHEN (OLD.status = 'PENDING' AND NEW.status <> 'PENDING')
    EXECUTE FUNCTION count_settlement();
"""
