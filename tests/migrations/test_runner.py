"""Migrations as an operator runs them: up, down, concurrent, killed, and on a wrong schema."""

import asyncio
import json
import re
from asyncio.subprocess import Process

import pytest

from reconciliation.connection import Connection
from reconciliation.migrations.migrator import LOCK_KEY, check_schema
from reconciliation.migrations.scripts import MigrationError, load_migrations, parse_migrations
from tests.eventually import LIMIT_S, eventually
from tests.indexer.processes import ending, kindledger
from tests.migrations.support import MIGRATIONS, NEWEST, connected, migrate, schema_lines

_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
_WAITING = f"{_SESSIONS} AND wait_event_type = 'Lock'"
_INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
_STATES = "SELECT state FROM kindledger_migrations ORDER BY version"


async def wait_for(connection: Connection, query: str, expected: object) -> None:
    """Wait until the query returns the expected value."""
    await eventually(
        lambda: connection.fetchval(query), lambda value: value == expected, describe=query
    )


async def wait_until_waiting(process: Process) -> None:
    """Wait until the command says that it waits for another one."""
    assert process.stderr is not None
    async with asyncio.timeout(LIMIT_S):
        assert b"waiting" in await process.stderr.readline()


async def test_down_and_up_again_leaves_the_same_schema(empty_database: str) -> None:
    before = await schema_lines(empty_database)
    await migrate(empty_database, NEWEST)
    complete = await schema_lines(empty_database)
    steps, _ = await migrate(empty_database, 0)
    assert [step.version for step in steps] == list(range(NEWEST, 0, -1))
    assert not {
        line
        for line in await schema_lines(empty_database) - before
        if "kindledger_migrations" not in line
    }
    await migrate(empty_database, NEWEST)
    assert await schema_lines(empty_database) == complete
    assert (await migrate(empty_database, NEWEST))[0] == []


async def test_the_command_migrates_up_and_down_and_shows_the_state(empty_database: str) -> None:
    async def command(*arguments: str) -> str:
        async with kindledger(
            "migrate", *arguments, KINDLEDGER_POSTGRES__MIGRATION_DSN=empty_database
        ) as process:
            ended = await ending(process)
        assert ended.code == 0, ended.stderr
        return ended.stdout

    states = [row["state"] for row in json.loads(await command("status", "--json"))["migrations"]]
    assert states == ["pending"] * NEWEST
    assert "ledger_tables" in await command("to", "2")
    assert json.loads(await command("up", "--json"))["steps"][0] == {
        "version": 3,
        "name": "business_indexes",
        "action": "applied",
    }
    assert json.loads(await command("down", "--json"))["steps"] == [
        {"version": NEWEST, "name": MIGRATIONS[-1].name, "action": "reverted"}
    ]
    lines = (await command("status")).splitlines()
    assert "applied" in lines[NEWEST - 1]
    assert "pending" in lines[NEWEST]


async def test_of_two_processes_one_migrates_and_the_other_waits(empty_database: str) -> None:
    up = ("migrate", "up", "--json")
    variables = {"KINDLEDGER_POSTGRES__DSN": empty_database}
    async with (
        connected(empty_database) as lock_holder,
        kindledger(*up, **variables) as first,
        kindledger(*up, **variables) as second,
    ):
        await lock_holder.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        await asyncio.gather(wait_until_waiting(first), wait_until_waiting(second))
        await lock_holder.execute("SELECT pg_advisory_unlock($1)", LOCK_KEY)
        ended = await asyncio.gather(ending(first), ending(second))
    assert [result.code for result in ended] == [0, 0], ended
    assert sorted(len(json.loads(result.stdout)["steps"]) for result in ended) == [0, NEWEST]


@pytest.mark.parametrize(
    ("version", "blocking", "states"),
    [(2, "campaigns", ["applied", "applied", "running"]), (3, "donations", ["applied"] * 3)],
    ids=["while indexes are built", "in a transaction"],
)
async def test_a_killed_migration_is_repeated(
    empty_database: str, version: int, blocking: str, states: list[str]
) -> None:
    await migrate(empty_database, version)
    async with connected(empty_database) as other, connected(empty_database) as observer:
        transaction = other.transaction()
        await transaction.start()
        await other.execute(f"LOCK TABLE {blocking} IN ROW EXCLUSIVE MODE")
        async with kindledger("migrate", "up", KINDLEDGER_POSTGRES__DSN=empty_database) as process:
            await wait_for(observer, _WAITING, 1)
            process.kill()
            await ending(process)
        await wait_for(observer, _SESSIONS, 2)
        assert [row["state"] for row in await observer.fetch(_STATES)] == states
        if "running" in states:
            assert await observer.fetchval(_INVALID) == 1
            with pytest.raises(
                MigrationError,
                match=r"0003_business_indexes .* not finished.*kindledger migrate up",
            ):
                await check_schema(observer, MIGRATIONS)
        await transaction.rollback()
        steps, _ = await migrate(empty_database, NEWEST)
        assert [step.version for step in steps] == list(range(version + 1, NEWEST + 1))
        assert await observer.fetchval(_INVALID) == 0
        await check_schema(observer, MIGRATIONS)


async def test_a_server_that_becomes_unavailable_is_no_fault_of_a_migration(
    empty_database: str,
) -> None:
    await migrate(empty_database, 3)
    async with (
        connected(empty_database) as other,
        connected(empty_database) as observer,
        other.transaction(),
    ):
        await other.execute("LOCK TABLE donations IN ROW EXCLUSIVE MODE")
        async with kindledger("migrate", "up", KINDLEDGER_POSTGRES__DSN=empty_database) as process:
            await wait_for(observer, _WAITING, 1)
            await observer.execute(_WAITING.replace("count(*)", "pg_terminate_backend(pid)"))
            ended = await ending(process)
    assert ended.code == 69, ended.stderr
    assert "was lost" in ended.stderr


async def test_a_newer_schema_is_refused(business_database: str) -> None:
    async with connected(business_database) as connection:
        await connection.execute(
            "INSERT INTO kindledger_migrations "
            "VALUES (99, 'later', 'x', 'applied', now(), now(), 'version 9')"
        )
        with pytest.raises(MigrationError, match="newer than this program"):
            await check_schema(connection, MIGRATIONS)
    for arguments in (("up",), ("down",), ("to", "0")):
        async with kindledger(
            "migrate", *arguments, KINDLEDGER_POSTGRES__DSN=business_database
        ) as process:
            ended = await ending(process)
        assert ended.code == 78
        assert "0099_later was applied by version 9" in ended.stderr


async def test_a_changed_file_is_refused_by_name(business_database: str) -> None:
    async with connected(business_database) as connection:
        await connection.execute(
            "UPDATE kindledger_migrations SET checksum = 'other' WHERE version = 2"
        )
    with pytest.raises(
        MigrationError, match=r"0002_business_schema\.up\.sql is not what was applied"
    ):
        await migrate(business_database, NEWEST)


async def test_a_table_in_use_does_not_delay_the_application(empty_database: str) -> None:
    await migrate(empty_database, 3)
    async with connected(empty_database) as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("LOCK TABLE donations IN ROW EXCLUSIVE MODE")
        with pytest.raises(
            MigrationError, match=r"0004_raised_amount: .*Try again .*Nothing was changed"
        ):
            await migrate(empty_database, NEWEST, lock_timeout_s=0.2)
        await transaction.rollback()
    steps, _ = await migrate(empty_database, NEWEST)
    assert [step.version for step in steps] == list(range(4, NEWEST + 1))


async def test_a_failed_migration_changes_nothing(empty_database: str) -> None:
    broken = parse_migrations(
        {
            "0001_broken.up.sql": "CREATE TABLE half (); SELECT 1 / 0",
            "0001_broken.down.sql": "DROP TABLE half",
        }
    )
    with pytest.raises(
        MigrationError, match=r"0001_broken: division by zero\. Nothing was changed\."
    ):
        await migrate(empty_database, 1, broken)
    async with connected(empty_database) as connection:
        assert await connection.fetchval("SELECT to_regclass('half')") is None
        assert await connection.fetch(_STATES) == []


async def test_the_daemon_checks_the_schema_with_its_own_rights(
    empty_database: str, indexer_dsn: str
) -> None:
    async with connected(indexer_dsn) as connection:
        await check_schema(connection, MIGRATIONS)
        with pytest.raises(MigrationError, match="newer than this program"):
            await check_schema(connection, MIGRATIONS[:1])
    async with connected(empty_database) as connection:
        with pytest.raises(MigrationError, match="kindledger migrate up"):
            await check_schema(connection, MIGRATIONS)


@pytest.mark.parametrize(
    ("key", "dsn", "code", "words"),
    [
        ("dsn", "postgresql://someone:hunter2@127.0.0.1:1/x", 69, "cannot be reached"),
        ("migration_dsn", "postgresql://someone:hunter2@127.0.0.1:1/x", 69, "cannot be reached"),
        ("migration_dsn", "postgresql://someone:hunter2@{server}", 78, "refuses"),
        ("migration_dsn", "postgresql://someone:hunter2@[/x", 78, "not an address"),
    ],
)
async def test_an_unreachable_server_is_named_without_the_password(
    postgres_dsn: str, key: str, dsn: str, code: int, words: str
) -> None:
    """The error names the address that was used, without its password."""
    address = dsn.format(server=postgres_dsn.rpartition("@")[2])
    variables = {"KINDLEDGER_POSTGRES__DSN": postgres_dsn}
    variables[f"KINDLEDGER_POSTGRES__{key.upper()}"] = address
    async with kindledger("migrate", "up", **variables) as process:
        ended = await ending(process)
    assert ended.code == code, ended.stderr
    assert words in ended.stderr
    assert set(re.findall(r"postgres\.(\w+)", ended.stderr)) == {key}
    assert "kindledger doctor" not in ended.stderr, "the doctor checks postgres.dsn only"
    assert "hunter2" not in ended.stderr


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["0001_a.up.sql"], "0001_a: migration 0001 must have"),
        (["0002_a.up.sql", "0002_a.down.sql"], "0002_a: migration 0001 must have"),
        (["1_a.up.sql"], "1_a.up.sql is no migration"),
        (
            ["0001_a.up.sql", "0001_a.down.sql", "0001_b.up.sql", "0001_b.down.sql"],
            "0001_b: migration 0002 must have",
        ),
    ],
)
def test_files_that_do_not_fit_are_named(names: list[str], words: str) -> None:
    with pytest.raises(MigrationError, match=words):
        parse_migrations(dict.fromkeys(names, ""))


def test_the_checksum_is_that_of_the_up_script() -> None:
    def first(up: str, down: str) -> str:
        return parse_migrations({"0001_a.up.sql": up, "0001_a.down.sql": down})[0].checksum

    assert first("SELECT 1", "") == first("SELECT 1", "corrected") != first("SELECT 2", "")
    assert load_migrations() == MIGRATIONS
