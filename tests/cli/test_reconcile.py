"""`kindledger reconcile` as an operator runs it: what it finds, what it says of it, and how it ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest
from msgspec.structs import replace
from redis import Redis

from cli.doctor.checks import Outcome, exit_code
from cli.errors import Exit
from cli.output.discrepancies import MEANINGS
from devnet.servers import Postgres, PostgresReplica
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import (
    ChannelState,
    LastError,
    Reconciliation,
    SyncState,
    write_sync_state,
)
from reconciliation.migrations.migrator import Migrator
from reconciliation.migrations.scripts import load_migrations
from reconciliation.reports import DiscrepancyKind as Kind
from tests.cli.support import Json, examine, kindledger, of, the_failure
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import CHANNEL, GrowingLedger, forged_chain, submitted

HEIGHT = 20
UNKNOWN = "ab" * 32
HOSTILE = "[red]x\x1b[2J"
LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
async def ledger(store: LedgerStore) -> GrowingLedger:
    """One with many transactions that fail."""
    ledger = GrowingLedger(store)
    await ledger.commit(forged_chain()[:HEIGHT])
    return ledger


@pytest.fixture
async def gateway(business_database: str) -> AsyncIterator[Gateway]:
    connection = await asyncpg.connect(business_database)
    gateway = Gateway(connection)
    await gateway.open_campaign()
    yield gateway
    await connection.close()


@pytest.fixture
def settings(mongo_uri: str, database_name: str, indexer_dsn: str) -> Json:
    return {
        "mongo": {"uri": mongo_uri},
        "channels": {CHANNEL: {"database": database_name}},
        "postgres": {"dsn": indexer_dsn},
        "log": {"level": "error"},
    }


async def report(
    ledger: GrowingLedger,
    state: ChannelState = ChannelState.FOLLOWING,
    reconciliation: Reconciliation | None = None,
) -> None:
    """What a daemon says of the ledger that it keeps."""
    now = datetime.now(UTC)
    height = ledger.progress.committed_height
    told = SyncState(
        CHANNEL, state, "peer0:7051", 0, height, height, height, 0.0, None, now, now, "1.2.3"
    )
    await write_sync_state(ledger.store.database, replace(told, reconciliation=reconciliation))


def reconcile(*arguments: str, settings: Json, code: Exit = Exit.OK) -> Json:
    """What the command says as JSON."""
    result = kindledger("reconcile", *arguments, "--json", settings=settings)
    assert result.returncode == code, result.stderr
    document: Json = json.loads(result.stdout)
    return document


async def write_mistakes(gateway: Gateway) -> dict[Kind, tuple[str, str]]:
    """One wrong row of each kind, by table and key; the first donation that is valid has a right row."""
    valid = [one for one in submitted(forged_chain()[:HEIGHT], "Donate") if one.valid]
    right, cheap, refused, *_ = valid
    failed = next(one for one in submitted(forged_chain()[:HEIGHT], "Donate") if not one.valid)
    await gateway.donation(right.tx_id, amount=Decimal(right.args[2]))
    await gateway.connection.execute(
        f"ALTER TABLE transactions ADD CONSTRAINT in_the_way CHECK (status = 'PENDING' OR tx_hash <> '{refused.tx_id}')"
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


# --- what is wrong with rows ------------------------------------------------------------------------------------------


async def test_each_mistake_is_found_and_told_until_it_is_over(
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
    (over,) = reconcile("list", *impossible, "--all", settings=settings)["discrepancies"]
    assert over["closedAt"] is not None


async def test_people_are_told_what_each_kind_means(
    ledger: GrowingLedger, gateway: Gateway, settings: Json
) -> None:
    """What clients and applications wrote is shown as it is, and never obeyed by the terminal."""
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
async def test_a_ledger_that_may_be_behind_its_peer_calls_no_hash_unknown(
    ledger: GrowingLedger, gateway: Gateway, settings: Json, state: ChannelState | None
) -> None:
    await gateway.transaction(UNKNOWN, created_at=LONG_AGO)
    if state is not None:
        await report(ledger, state)
    settings["reconcile"] = {"missing_rows": "false"}
    result = kindledger("reconcile", "once", "--full", settings=settings)
    assert result.returncode == 0, result.stdout
    assert "no daemon reports" in result.stderr


async def test_a_table_that_has_no_more_than_a_status(
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


async def test_status_shows_reconciliation_beside_indexing(
    ledger: GrowingLedger, settings: Json
) -> None:
    error = LastError(datetime.now(UTC), "[red]away")
    await report(ledger, reconciliation=Reconciliation(ChannelState.WAITING, 7, 1234, 5, error, []))
    shown = kindledger("status", settings=settings)
    assert shown.returncode == 0, shown.stderr
    row = next(line for line in shown.stdout.splitlines() if "[red]away" in line)
    when = error.at.isoformat(timespec="seconds")
    assert row.split() == [CHANNEL, "waiting", "7", "1,234", "5", when, "[red]away"]


# --- what is wrong with the database ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "step", "says"),
    [
        (
            "REVOKE UPDATE (status) ON donations FROM kindledger_indexer",
            "tables",
            "UPDATE public.donations.status",
        ),
        (
            "REVOKE SELECT (tx_hash) ON transactions FROM kindledger_indexer",
            "tables",
            "SELECT public.transactions.tx_",
        ),
        (
            "REVOKE INSERT ON ledger_discrepancies FROM kindledger_indexer",
            "tables",
            "INSERT ledger_discrepancies",
        ),
        ("DROP TABLE donations CASCADE", "tables", "no table public.donations"),
        (
            "ALTER TABLE donations RENAME amount TO money",
            "tables",
            "public.donations has no column amount",
        ),
        (
            "ALTER TABLE donations ENABLE ROW LEVEL SECURITY",
            "tables",
            "row-level security of public.donations",
        ),
        (
            "REVOKE SELECT ON kindledger_migrations FROM kindledger_indexer",
            "schema",
            "kindledger_migrations",
        ),
        ("DROP TABLE kindledger_migrations", "schema", "kindledger migrate up"),
        (
            "INSERT INTO kindledger_migrations VALUES (99, 'later', 'x', 'applied', now(), now(), 'version 9')",
            "schema",
            "newer than this program",
        ),
    ],
)
async def test_a_database_that_does_not_fit_is_named_by_once_and_doctor(
    ledger: GrowingLedger, gateway: Gateway, settings: Json, fault: str, step: str, says: str
) -> None:
    await gateway.connection.execute(fault)
    result = kindledger("reconcile", "once", settings=settings)
    assert (result.returncode, result.stdout) == (78, "")
    assert says in result.stderr
    checks = await examine({"postgres": settings["postgres"]})
    failure = the_failure(checks)
    assert (failure.name, exit_code(checks)) == (f"postgresql: {step}", Exit.CONFIGURATION)
    assert says in failure.detail


async def test_what_fits_is_said_by_doctor(settings: Json) -> None:
    checks = of(await examine({"postgres": settings["postgres"]}), "postgresql")
    assert all(check.outcome is Outcome.OK for check in checks.values())
    assert (checks["primary"].detail, checks["schema"].detail) == (
        "accepts writes",
        f"migrated to {newest():04}",
    )
    assert "transactions, donations, campaigns" in checks["tables"].detail


def newest() -> int:
    return len(load_migrations())


@pytest.mark.parametrize("command", ["status", "list", "once"])
async def test_servers_that_are_away_exit_69(
    ledger: GrowingLedger, settings: Json, closed_port: int, command: str
) -> None:
    settings["postgres"] = {"dsn": f"postgresql://u:hunter2@127.0.0.1:{closed_port}/x"}
    away = kindledger("reconcile", command, settings=settings)
    assert (away.returncode, away.stdout) == (69, "")
    assert "PostgreSQL" in away.stderr
    assert "hunter2" not in away.stderr


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"mongo": {"uri": "mongodb://127.0.0.1:{closed}"}}, 69, "kindledger doctor"),
        ({"postgres": {}}, 78, "KINDLEDGER_POSTGRES__DSN"),
        ({"channels": {"a": {"start_block": 0}, "b": {"start_block": 0}}}, 78, "reconcile.channel"),
        ({"channels": {CHANNEL: {"database": "no_such_database"}}}, 78, "no block is stored"),
    ],
)
def test_nothing_to_reconcile(
    settings: Json, closed_port: int, changes: Json, code: int, says: str
) -> None:
    changed = json.loads(json.dumps(changes).replace("{closed}", str(closed_port)))
    result = kindledger("reconcile", "once", settings=settings | changed)
    assert (result.returncode, result.stdout) == (code, "")
    assert says in result.stderr


async def test_a_ledger_that_is_shorter_than_what_was_settled_is_not_waited_for(
    ledger: GrowingLedger, gateway: Gateway, settings: Json
) -> None:
    await gateway.connection.execute(
        "INSERT INTO ledger_cursor VALUES ($1, $2, 'x')", CHANNEL, HEIGHT + 5
    )
    result = kindledger("reconcile", "once", settings=settings)
    assert result.returncode == 78
    assert f"the stored ledger has only {HEIGHT}" in result.stderr


# --- replicas ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def replicated(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Postgres, PostgresReplica]]:
    """A primary and its replica."""
    folder = tmp_path_factory.mktemp("replicated")
    with (
        Postgres(folder / "primary") as primary,
        PostgresReplica(folder / "replica", primary) as replica,
    ):
        yield primary, replica


@asynccontextmanager
async def writing(server: Postgres) -> AsyncIterator[None]:
    """Writes without a pause, so that a replica is always a little behind."""

    async def write() -> None:
        connection = await asyncpg.connect(server.dsn)
        try:
            while True:
                await connection.execute("SELECT pg_logical_emit_message(true, 'test', 'x')")
        finally:
            connection.terminate()

    task = asyncio.create_task(write())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_replicas_are_told_and_read(
    replicated: tuple[Postgres, PostgresReplica], ledger: GrowingLedger, settings: Json
) -> None:
    primary, replica = replicated
    connection = await asyncpg.connect(primary.dsn)
    await Migrator(connection, load_migrations(), print, program="tests").up()
    await connection.close()

    def servers(dsn: str, other: str) -> Json:
        return {"dsn": dsn, "replica_dsns": [other]}

    settings["postgres"] = servers(primary.dsn, replica.dsn)
    async with writing(primary):
        shown = (await asyncio.to_thread(reconcile, "status", settings=settings))["servers"]
    assert [(server["name"], server["reachable"]) for server in shown] == [
        ("primary", True),
        ("replica 1", True),
    ]
    assert shown[1]["lagSeconds"] < 5
    checks = await examine({"postgres": settings["postgres"]})
    assert exit_code(checks) is Exit.OK
    assert "behind" in of(checks, "postgresql, replica 1")["lag"].detail

    swapped = await examine({"postgres": servers(replica.dsn, primary.dsn)})
    failed = {check.name: check.detail for check in swapped if check.outcome is Outcome.FAILED}
    assert failed == {
        "postgresql: primary": "it accepts no writes: it is a replica",
        "postgresql, replica 1: replica": "it is not a replica: it accepts writes itself",
    }
    settings["postgres"] = servers(replica.dsn, replica.dsn)
    assert kindledger("reconcile", "once", settings=settings).returncode == 69

    replica.stop()
    settings["postgres"] = servers(primary.dsn, replica.dsn)
    assert reconcile("status", settings=settings)["servers"][1] == {
        "name": "replica 1",
        "reachable": False,
        "lagSeconds": None,
    }
    assert reconcile("list", settings=settings)["discrepancies"] == []
    assert (
        the_failure(await examine({"postgres": settings["postgres"]})).name
        == "postgresql, replica 1: tcp"
    )
