"""campaigns.raised_amount is the sum of CONFIRMED donations after every statement."""

import asyncio
import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciliation.connection import Connection
from tests.migrations.support import connected

CAMPAIGNS = ("a", "b", "c")
GOAL = 100
STATUSES = ("PENDING", "CONFIRMED", "FAILED", "REFUNDED")

campaigns = st.sampled_from(CAMPAIGNS)
statuses = st.sampled_from(STATUSES)
amounts = st.decimals(min_value="0.01", max_value=60, places=2)
keys = st.integers(0, 15)
chosen = st.sets(keys, max_size=8).map(
    lambda numbers: [UUID(int=number) for number in sorted(numbers)]
)
donations = st.dictionaries(
    keys.map(lambda number: UUID(int=number)), st.tuples(campaigns, amounts, statuses), max_size=8
)

_INSERT = """
INSERT INTO donations (id, campaign_id, amount, status)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::numeric[], $4::text[])
"""
_UPSERT = """
ON CONFLICT (id) DO UPDATE
SET (campaign_id, amount, status) = (excluded.campaign_id, excluded.amount, excluded.status)
"""
_CLOSE = "UPDATE campaigns SET status = 'CLOSED' WHERE id = $1 AND status = 'OPEN'"


def columns(rows: dict[UUID, tuple[str, Decimal, str]]) -> tuple[list[Any], ...]:
    return list(rows), *([row[column] for row in rows.values()] for column in range(3))


statements = st.one_of(
    donations.map(lambda rows: (f"{_INSERT} ON CONFLICT DO NOTHING", *columns(rows))),
    donations.map(lambda rows: (_INSERT + _UPSERT, *columns(rows))),
    st.tuples(st.just("UPDATE donations SET status = $2 WHERE id = ANY ($1)"), chosen, statuses),
    st.tuples(st.just("UPDATE donations SET status = 'CONFIRMED' WHERE status = 'PENDING'")),
    st.tuples(st.just("UPDATE donations SET amount = $2 WHERE id = ANY ($1)"), chosen, amounts),
    st.tuples(
        st.just("UPDATE donations SET campaign_id = $2 WHERE id = ANY ($1)"), chosen, campaigns
    ),
    st.tuples(st.just("UPDATE donations SET donor_name = 'other'")),
    st.tuples(st.just("DELETE FROM donations WHERE id = ANY ($1)"), chosen),
    st.tuples(st.just("TRUNCATE donations")),
    st.tuples(st.just(_CLOSE), campaigns),
)


async def wrong_amounts(connection: Connection) -> list[Any]:
    """Return the campaigns whose amount is not the sum of their confirmed donations."""
    return await connection.fetch(
        """
        SELECT campaigns.id, raised_amount, coalesce(sum(amount), 0) AS confirmed
        FROM campaigns
            LEFT JOIN donations ON campaign_id = campaigns.id AND donations.status = 'CONFIRMED'
        GROUP BY campaigns.id HAVING raised_amount <> coalesce(sum(amount), 0)
        """
    )


async def begin(connection: Connection, names: Sequence[str]) -> None:
    await connection.execute("TRUNCATE donations; DELETE FROM campaigns")
    await connection.executemany(
        "INSERT INTO campaigns (id, name, goal_amount) VALUES ($1, $1, $2)",
        [(name, GOAL) for name in names],
    )


@settings(max_examples=60)
@given(steps=st.lists(statements, min_size=1, max_size=12))
async def test_the_amount_is_right_after_every_statement(
    business_database: str, steps: list[tuple[Any, ...]]
) -> None:
    async with connected(business_database) as connection:
        await begin(connection, CAMPAIGNS)
        status = dict.fromkeys(CAMPAIGNS, "OPEN")
        for step in steps:
            await connection.execute(*step)
            assert await wrong_amounts(connection) == []
            for row in await connection.fetch("SELECT id, status, raised_amount FROM campaigns"):
                expected = status[row["id"]]
                if step == (_CLOSE, row["id"]) and expected == "OPEN":
                    expected = "CLOSED"
                status[row["id"]] = (
                    "COMPLETED" if expected == "OPEN" and row["raised_amount"] >= GOAL else expected
                )
                assert row["status"] == status[row["id"]]


async def test_concurrent_transactions_on_the_same_campaigns_add_up(business_database: str) -> None:
    names = [f"c{number}" for number in range(8)]

    async def work(seed: int) -> None:
        draw = random.Random(seed)
        async with connected(business_database) as connection:
            for _ in range(30):
                await connection.execute(
                    "INSERT INTO donations (campaign_id, amount, status) "
                    "SELECT *, 1, $2 FROM unnest($1::text[])",
                    draw.sample(names, len(names)),
                    draw.choice(("PENDING", "CONFIRMED")),
                )
                await connection.execute(
                    "UPDATE donations SET status = 'CONFIRMED' WHERE id IN ("
                    "SELECT id FROM donations WHERE status = 'PENDING' "
                    "ORDER BY md5(id::text || $1) LIMIT 5 FOR UPDATE SKIP LOCKED)",
                    str(seed),
                )

    async with connected(business_database) as connection:
        await begin(connection, names)
        await asyncio.gather(*map(work, range(6)))
        assert await wrong_amounts(connection) == []
        assert await connection.fetchval("SELECT sum(raised_amount) FROM campaigns") > 0
        assert await connection.fetchval(
            "SELECT bool_and(status = 'COMPLETED') FROM campaigns WHERE raised_amount >= 100"
        )
