"""`kindledger reconcile` as an operator uses it: what it finds, prints and returns."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from redis import Redis

from cli.errors import Exit
from cli.output.discrepancies import MEANINGS
from ledger.mongodb.sync_state import (
    ChannelState,
    LastError,
    Reconciliation,
)
from reconciliation.reports import DiscrepancyKind as Kind
from tests.cli.reconciling import HEIGHT, HOSTILE, LONG_AGO, UNKNOWN, reconcile, report
from tests.cli.support import Json, kindledger
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import CHANNEL, GrowingLedger, forged_chain, submitted


async def write_mistakes(gateway: Gateway) -> dict[Kind, tuple[str, str]]:
    """Write a wrong row of each kind, and a right row; return the wrong ones by kind."""
    valid = [one for one in submitted(forged_chain()[:HEIGHT], "Donate") if one.valid]
    right, cheap, refused, *_ = valid
    failed = next(one for one in submitted(forged_chain()[:HEIGHT], "Donate") if not one.valid)
    await gateway.donation(right.tx_id, amount=Decimal(right.args[2]))
    await gateway.connection.execute(
        "ALTER TABLE transactions ADD CONSTRAINT in_the_way "
        f"CHECK (status = 'PENDING' OR tx_hash <> '{refused.tx_id}')"
    )
    keys = {
        Kind.CONTRADICTS_LEDGER: await gateway.transaction(failed.tx_id, "CONFIRMED"),
        Kind.NOT_ON_LEDGER: await gateway.transaction(UNKNOWN, created_at=LONG_AGO),
        Kind.IMPOSSIBLE_HASH: await gateway.transaction(HOSTILE),
        Kind.REFUSED: await gateway.transaction(refused.tx_id),
    }
    amount = Decimal(cheap.args[2]) + 1
    rows = {kind: ("transactions", str(key)) for kind, key in keys.items()}
    return rows | {
        Kind.AMOUNT_DIFFERS: ("donations", str(await gateway.donation(cheap.tx_id, amount=amount)))
    }


async def test_each_mistake_is_a_discrepancy_until_it_is_corrected(
    ledger: GrowingLedger, gateway: Gateway, settings: Json, redis_url: str
) -> None:
    settings["redis"] = {"url": redis_url}
    mistakes = await write_mistakes(gateway)
    await gateway.donation(None)
    await report(ledger)
    with Redis.from_url(redis_url) as client:
        client.set("campaign:c1", "as it was before")

    before = reconcile("status", settings=settings)
    assert (before["committedHeight"], before["height"], before["discrepancies"]) == (HEIGHT, 0, [])
    assert before["verdict"] == "unknown"

    done = reconcile("once", "--full", settings=settings, code=Exit.DATA)
    assert (done["height"], done["settled"], done["closed"]) == (HEIGHT, 2, 0)
    assert {count["kind"] for count in done["open"]} == set(Kind)
    assert done["opened"] == sum(count["count"] for count in done["open"])
    with Redis.from_url(redis_url) as client:
        assert client.get("campaign:c1") is None, "rows of that campaign were settled"

    found = reconcile("list", "--limit", "1000", settings=settings)["discrepancies"]
    rows = {one["kind"]: (one["table"], one["subject"]) for one in found if one["table"]}
    assert rows == mistakes
    assert [one["id"] for one in found] == sorted((one["id"] for one in found), reverse=True)

    status = reconcile("status", settings=settings)
    assert (status["height"], status["auditedHeight"], status["servers"]) == (
        HEIGHT,
        HEIGHT,
        [{"name": "primary", "reachable": True, "lagSeconds": None}],
    )
    assert status["discrepancies"] == done["open"]
    assert status["verdict"] == "different"
    waiting = {table.pop("table"): table for table in status["waiting"]}
    assert waiting["donations"] == {"rows": 0, "overdue": 0, "oldest": None, "withoutHash": 1}
    assert waiting["transactions"] | {"oldest": None} == {
        "rows": 3,
        "overdue": 1,
        "oldest": None,
        "withoutHash": 0,
    }
    assert datetime.fromisoformat(waiting["transactions"]["oldest"]) == LONG_AGO

    await gateway.connection.execute("DELETE FROM transactions WHERE tx_hash = $1", HOSTILE)
    again = reconcile("once", settings=settings, code=Exit.DATA)
    assert (again["settled"], again["opened"], again["closed"]) == (0, 0, 1)
    impossible = ("--kind", Kind.IMPOSSIBLE_HASH)
    assert reconcile("list", *impossible, settings=settings)["discrepancies"] == []
    (closed,) = reconcile("list", *impossible, "--all", settings=settings)["discrepancies"]
    assert closed["closedAt"] is not None


async def test_the_list_explains_each_kind(
    ledger: GrowingLedger, gateway: Gateway, settings: Json
) -> None:
    """Texts of clients and applications are escaped, so that a terminal does not execute them."""
    await write_mistakes(gateway)
    await report(ledger)
    once = kindledger("reconcile", "once", settings=settings)
    assert once.returncode == 65
    assert "kindledger reconcile list" in once.stderr
    listed = kindledger("reconcile", "list", "--limit", "1000", settings=settings)
    assert listed.returncode == 0, listed.stderr
    for kind in Kind:
        assert f"{kind}: {MEANINGS[kind]}" in listed.stdout
    assert "[red]x\\x1b[2J" in listed.stdout
    assert "\x1b" not in listed.stdout
    assert "ledger  no such transaction" in listed.stdout
    assert "in_the_way" in listed.stdout, "PostgreSQL's own words"
    newest = kindledger("reconcile", "list", "--limit", "1", settings=settings)
    assert newest.stdout.count("ledger  ") == 1
    assert "--limit shows more" in newest.stderr
    status = kindledger("reconcile", "status", settings=settings)
    assert status.returncode == 0, status.stderr
    for words in (CHANNEL, "transactions", "primary", *Kind):
        assert words in status.stdout


@pytest.mark.parametrize("state", [None, ChannelState.WAITING])
async def test_a_ledger_that_may_be_behind_its_peer_reports_no_unknown_hash(
    ledger: GrowingLedger, gateway: Gateway, settings: Json, state: ChannelState | None
) -> None:
    await gateway.transaction(UNKNOWN, created_at=LONG_AGO)
    if state is not None:
        await report(ledger, state)
    settings["reconcile"] = {"missing_rows": "false"}
    result = kindledger("reconcile", "once", "--full", settings=settings)
    assert result.returncode == 0, result.stdout
    assert "no daemon reports" in result.stderr


async def test_a_table_with_no_optional_column_but_a_status_is_settled(
    ledger: GrowingLedger, gateway: Gateway, settings: Json
) -> None:
    one = next(one for one in submitted(forged_chain()[:HEIGHT], "Donate") if not one.valid)
    await gateway.connection.execute(
        'CREATE TABLE "Gift""s" (id int PRIMARY KEY, tx text, state text)'
    )
    await gateway.connection.execute('GRANT SELECT, UPDATE ON "Gift""s" TO kindledger_indexer')
    await gateway.connection.executemany(
        'INSERT INTO "Gift""s" VALUES ($1, $2, $3)',
        [(1, f" 0x{one.tx_id.upper()}", "open"), (2, "", "open")],
    )
    table = {
        "name": 'Gift"s',
        "hash": "tx",
        "status": "state",
        "pending": "open",
        "failed": "rejected",
    }
    settings["reconcile"] = {"tables": [table], "missing_rows": "false"}
    assert reconcile("once", settings=settings)["settled"] == 1
    assert (
        await gateway.connection.fetchval('SELECT state FROM "Gift""s" WHERE id = 1') == "rejected"
    )
    (waiting,) = reconcile("status", settings=settings)["waiting"]
    assert waiting == {"table": 'Gift"s', "rows": 0, "overdue": 0, "oldest": None, "withoutHash": 1}


async def test_status_shows_indexing_and_reconciliation(
    ledger: GrowingLedger, settings: Json
) -> None:
    error = LastError(datetime.now(UTC), "[red]unavailable")
    await report(ledger, reconciliation=Reconciliation(ChannelState.WAITING, 7, 1234, 5, error, []))
    shown = kindledger("status", settings=settings)
    assert shown.returncode == 0, shown.stderr
    row = next(line for line in shown.stdout.splitlines() if "[red]unavailable" in line)
    when = error.at.isoformat(timespec="seconds")
    assert row.split() == [CHANNEL, "waiting", "7", "1,234", "5", when, "[red]unavailable"]
