"""The embedded replica follows its primary, is read-only, and catches up after an outage."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from devnet.servers import Postgres, PostgresReplica, ProgramNotFoundError, ServerError
from devnet.servers.programs import POSTGRES, find_program
from tests.devnet.server_clients import postgres_add, postgres_run
from tests.eventually import eventually_sync


@contextmanager
def pair(folder: Path) -> Iterator[tuple[Postgres, PostgresReplica]]:
    with Postgres(folder / "primary") as primary:
        postgres_add(primary.dsn, "before the copy")
        with PostgresReplica(folder / "it's a replica", primary) as replica:
            yield primary, replica


def names(server: Postgres) -> list[str]:
    return postgres_run(server.dsn, "SELECT name FROM names ORDER BY number")


def wait_for_names(replica: PostgresReplica, *expected: str) -> None:
    eventually_sync(lambda: names(replica), lambda current: current == list(expected))


def test_a_replica_has_what_the_primary_commits_and_refuses_writes(tmp_path: Path) -> None:
    with pair(tmp_path) as (primary, replica):
        wait_for_names(replica, "before the copy")
        postgres_add(primary.dsn, "streamed")
        wait_for_names(replica, "before the copy", "streamed")
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            postgres_add(replica.dsn, "refused")
        command = Path(f"/proc/{replica.pid}/cmdline").read_text()
        password = primary.dsn.partition("@")[0].rpartition(":")[2]
        assert password not in command + replica.log.read_text()


def test_a_killed_replica_catches_up_although_the_primary_was_restarted_meanwhile(
    tmp_path: Path,
) -> None:
    with pair(tmp_path) as (primary, replica):
        address = replica.dsn
        replica.kill()
        # Without the slot of the replica, a checkpoint would delete two of these log segments.
        postgres_run(
            primary.dsn,
            *["SELECT pg_switch_wal()::text", "CREATE TABLE filler ()", "DROP TABLE filler"] * 3,
        )
        postgres_add(primary.dsn, "missed")
        postgres_run(primary.dsn, "CHECKPOINT")
        primary.stop()
        replica.start()
        assert names(replica) == ["before the copy"]  # the replica can be read without the primary
        primary.start()
        wait_for_names(replica, "before the copy", "missed")
        assert replica.dsn == address


def test_a_copy_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    with Postgres(tmp_path / "primary") as primary:
        primary.stop()
        with pytest.raises(
            ServerError, match=r"(?s)pg_basebackup could not create.*Connection refused"
        ):
            PostgresReplica(tmp_path / "replica", primary).start()

        site = find_program(POSTGRES).parents[3]
        for part in ("pgserver/pginstall", "pgserver.libs"):
            shutil.copytree(
                site / part, tmp_path / part, ignore=shutil.ignore_patterns("pg_basebackup")
            )
        program = tmp_path / "pgserver/pginstall/bin/postgres"
        with pytest.raises(
            ProgramNotFoundError, match=r"pg_basebackup is not a program .* Install the package"
        ):
            PostgresReplica(tmp_path / "another", primary, binary=program).start()
