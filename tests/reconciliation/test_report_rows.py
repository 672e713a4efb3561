"""The rows of transactions that the API shows."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from reconciliation.reports import MAX_ROWS, BusinessRow
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.report_readers import ID, OTHER_ID, error_message, reports_from

pytestmark = [
    pytest.mark.usefixtures("close_broken_connections"),
    pytest.mark.filterwarnings(
        "ignore:unclosed <socket:ResourceWarning"
    ),  # of interrupted attempts to connect
]

CREATED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


async def test_rows_are_found_by_every_usual_spelling_of_an_id(
    gateway: Gateway, indexer_dsn: str, reporter_dsn: str
) -> None:
    spellings = (ID, ID.upper(), f"0x{ID}", f"0x{ID.upper()}")
    await gateway.open_campaign(hash_=ID)
    keys = [
        str(
            await gateway.transaction(
                hash_, block_number=7, amount=Decimal("1000000000.50"), created_at=CREATED_AT
            )
        )
        for hash_ in spellings
    ]
    donation = str(await gateway.donation(f"0x{ID}", donated_at=CREATED_AT))
    campaign_created_at = await gateway.connection.fetchval("SELECT created_at FROM campaigns")
    await gateway.transaction(OTHER_ID, "FAILED")
    await gateway.transaction("pending-1")
    expected = [
        BusinessRow(
            "transactions", key, hash_, "PENDING", 7, "1000000000.50", None, CREATED_AT, None
        )
        for key, hash_ in sorted(zip(keys, spellings, strict=True))
    ]
    expected.append(
        BusinessRow(
            "donations", donation, f"0x{ID}", "PENDING", None, "1.00", "c1", CREATED_AT, None
        )
    )
    expected.append(
        BusinessRow("campaigns", "c1", ID, None, None, None, "c1", campaign_created_at, None)
    )
    for dsn in (indexer_dsn, reporter_dsn):
        async with reports_from(dsn) as reports:
            found = await reports.rows(
                [ID, OTHER_ID, f"0x{OTHER_ID}", "pending-1", "", "nul\0", "x" * 300]
            )
            status = await reports.status()
        assert found.pop(ID).rows == expected
        assert [row.state for row in found.pop(OTHER_ID).rows] == ["FAILED"]
        assert {tx_id: rows.rows for tx_id, rows in found.items() if rows.rows} == {}
        assert {waiting.table: waiting.rows for waiting in status.waiting} == {
            "transactions": 4,
            "donations": 1,
        }


async def test_the_number_of_rows_is_limited(gateway: Gateway, reporter_dsn: str) -> None:
    await gateway.open_campaign()
    for n in range(MAX_ROWS + 1):
        await gateway.donation((ID, f"0x{ID}")[n % 2])
    await gateway.donation(OTHER_ID, donated_at=datetime.max.replace(tzinfo=UTC))
    await gateway.connection.execute(
        "UPDATE donations SET confirmed_at = 'infinity' WHERE blockchain_tx_hash = $1", OTHER_ID
    )
    async with reports_from(reporter_dsn) as reports:
        found = await reports.rows([ID, OTHER_ID])
    assert (len(found[ID].rows), found[ID].more) == (MAX_ROWS, True)
    (row,) = found[OTHER_ID].rows
    assert (row.confirmed_at, found[OTHER_ID].more) == (None, False)


async def test_rows_of_another_schema_are_found(gateway: Gateway, reporter_dsn: str) -> None:
    """Its columns have other types and names, and the user has only the rights to read them."""
    await gateway.connection.execute(
        """
        CREATE SCHEMA "Shop";
        CREATE TABLE "Shop"."Gift""s" (
            no int PRIMARY KEY, tx char(70), state text, euros money, day date
        );
        GRANT USAGE ON SCHEMA "Shop" TO kindledger_reporter;
        GRANT SELECT (no, tx, state, euros) ON "Shop"."Gift""s" TO kindledger_reporter;
        """
    )
    await gateway.connection.execute(
        """INSERT INTO "Shop"."Gift""s" VALUES (1, $1, 'open', '12.5', $2)""", ID, CREATED_AT
    )
    table = {"name": 'Gift"s', "key": "no", "hash": "tx", "status": "state", "pending": "open"}
    table |= {"amount": "euros", "created_at": "day"}
    async with reports_from(reporter_dsn, schema="Shop", tables=[table]) as reports:
        assert "refuses" in await error_message(reports.rows([ID]))
        await gateway.connection.execute(
            """GRANT SELECT (day) ON "Shop"."Gift""s" TO kindledger_reporter"""
        )
        await asyncio.sleep(1.1)  # until the pause after the failure is over
        rows = (await reports.rows([ID]))[ID].rows
    day = datetime(2026, 1, 2, tzinfo=UTC)
    assert rows == [BusinessRow('Gift"s', "1", ID, "open", None, "12.50", None, day, None)]
