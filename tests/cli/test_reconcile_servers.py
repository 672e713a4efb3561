"""`kindledger reconcile` with databases that do not fit, are unavailable, or have replicas."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from cli.doctor.checks import Outcome, exit_code
from cli.errors import Exit
from devnet.servers import Postgres, PostgresReplica
from reconciliation.migrations.migrator import Migrator
from reconciliation.migrations.scripts import load_migrations
from tests.cli.reconciling import HEIGHT, reconcile
from tests.cli.support import Json, checks_of, kindledger, only_failure, run_checks
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import CHANNEL, GrowingLedger


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
            (
                "INSERT INTO kindledger_migrations "
                "VALUES (99, 'later', 'x', 'applied', now(), now(), 'version 9')"
            ),
            "schema",
            "newer than this program",
        ),
    ],
)
async def test_a_fault_of_the_database_is_named_by_once_and_doctor(
    ledger: GrowingLedger, gateway: Gateway, settings: Json, fault: str, step: str, says: str
) -> None:
    await gateway.connection.execute(fault)
    result = kindledger("reconcile", "once", settings=settings)
    assert (result.returncode, result.stdout) == (78, "")
    assert says in result.stderr
    checks = await run_checks({"postgres": settings["postgres"]})
    failure = only_failure(checks)
    assert (failure.name, exit_code(checks)) == (f"postgresql: {step}", Exit.CONFIGURATION)
    assert says in failure.detail


async def test_doctor_describes_a_sound_database(settings: Json) -> None:
    checks = checks_of(await run_checks({"postgres": settings["postgres"]}), "postgresql")
    assert all(check.outcome is Outcome.OK for check in checks.values())
    assert (checks["primary"].detail, checks["schema"].detail) == (
        "accepts writes",
        f"migrated to {newest():04}",
    )
    assert "transactions, donations, campaigns" in checks["tables"].detail


def newest() -> int:
    return len(load_migrations())


@pytest.mark.parametrize("command", ["status", "list", "once"])
async def test_unavailable_servers_exit_69(
    ledger: GrowingLedger, settings: Json, closed_port: int, command: str
) -> None:
    settings["postgres"] = {"dsn": f"postgresql://u:hunter2@127.0.0.1:{closed_port}/x"}
    result = kindledger("reconcile", command, settings=settings)
    assert (result.returncode, result.stdout) == (69, "")
    assert "PostgreSQL" in result.stderr
    assert "hunter2" not in result.stderr


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"mongo": {"uri": "mongodb://127.0.0.1:{closed}"}}, 69, "kindledger doctor"),
        ({"postgres": {}}, 78, "KINDLEDGER_POSTGRES__DSN"),
        ({"channels": {"a": {"start_block": 0}, "b": {"start_block": 0}}}, 78, "reconcile.channel"),
        ({"channels": {CHANNEL: {"database": "no_such_database"}}}, 78, "no block is stored"),
    ],
)
def test_once_fails_without_anything_to_reconcile(
    settings: Json, closed_port: int, changes: Json, code: int, says: str
) -> None:
    changed = json.loads(json.dumps(changes).replace("{closed}", str(closed_port)))
    result = kindledger("reconcile", "once", settings=settings | changed)
    assert (result.returncode, result.stdout) == (code, "")
    assert says in result.stderr


async def test_once_fails_if_the_ledger_is_shorter_than_the_settled_height(
    ledger: GrowingLedger, gateway: Gateway, settings: Json
) -> None:
    await gateway.connection.execute(
        "INSERT INTO ledger_cursor VALUES ($1, $2, 'x')", CHANNEL, HEIGHT + 5
    )
    result = kindledger("reconcile", "once", settings=settings)
    assert result.returncode == 78
    assert f"the stored ledger has only blocks below {HEIGHT}" in result.stderr


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
    """Write without a pause, so that a replica always has a lag."""

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


async def test_replicas_are_shown_and_read(
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
    checks = await run_checks({"postgres": settings["postgres"]})
    assert exit_code(checks) is Exit.OK
    assert "behind" in checks_of(checks, "postgresql, replica 1")["lag"].detail

    swapped = await run_checks({"postgres": servers(replica.dsn, primary.dsn)})
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
        only_failure(await run_checks({"postgres": settings["postgres"]})).name
        == "postgresql, replica 1: tcp"
    )
