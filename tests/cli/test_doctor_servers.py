"""`kindledger doctor` with PostgreSQL and Redis: each fault fails the right check."""

import socket
from pathlib import Path

import pytest

from cli.doctor.checks import Outcome, exit_code
from cli.errors import Exit
from devnet.servers import Postgres, Redis
from tests.cli.support import checks_of, only_failure, run_checks


@pytest.mark.parametrize(
    ("dsn", "step", "code"),
    [
        (
            "postgresql://postgres:hunter2@127.0.0.1:{port}/postgres",
            "authentication",
            Exit.CONFIGURATION,
        ),
        ("{dsn}_none", "database", Exit.CONFIGURATION),
        ("postgresql://u:hunter2@postgres.invalid/x", "dns", Exit.CONFIGURATION),
        ("postgresql://u:hunter2@127.0.0.1:{closed}/x", "tcp", Exit.UNAVAILABLE),
        ("postgresql://u:hunter2@127.0.0.1:{silent}/x", "tcp", Exit.UNAVAILABLE),
        ("{dsn}?sslmode=require", "session", Exit.CONFIGURATION),
        ("postgresql://u:hunter2/3@localhost/x", "address", Exit.CONFIGURATION),
        ("mysql://u:hunter2@localhost/x", "address", Exit.CONFIGURATION),
    ],
)
async def test_a_fault_of_postgresql_fails_its_step(
    postgres: Postgres, closed_port: int, dsn: str, step: str, code: Exit
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ports = {"closed": closed_port, "silent": silent.getsockname()[1], "port": postgres.port}
        checks = await run_checks(
            {"postgres": {"dsn": dsn.format(dsn=postgres.dsn, **ports)}}, limit_s=2.0
        )
    failure = only_failure(checks)
    assert (failure.name, exit_code(checks)) == (f"postgresql: {step}", code)
    assert not any("hunter2" in f"{check.detail} {check.advice}" for check in checks)


async def test_a_fault_of_a_replica_names_the_replica(postgres: Postgres, closed_port: int) -> None:
    """Its password, its database, its host and its port are not those of postgres.dsn."""
    replicas = [
        f"postgresql://postgres:hunter2@127.0.0.1:{postgres.port}/postgres",
        f"{postgres.dsn}_none",
        "postgresql://u@postgres.invalid/x",
        f"postgresql://u@127.0.0.1:{closed_port}/x",
        f"{postgres.dsn}?sslmode=require",
    ]
    checks = await run_checks({"postgres": {"dsn": postgres.dsn, "replica_dsns": replicas}})
    for number in range(1, len(replicas) + 1):
        part = f"postgresql, replica {number}"
        (failure,) = (
            check for check in checks_of(checks, part).values() if check.outcome is Outcome.FAILED
        )
        text = f"{failure.detail} {failure.advice}"
        assert f"replica {number} of postgres.replica_dsns" in text
        assert "postgres.dsn" not in text


@pytest.mark.parametrize(
    ("url", "step", "code"),
    [
        ("redis://:hunter2@127.0.0.1:{port}/0", "authentication", Exit.CONFIGURATION),
        ("redis://127.0.0.1:{port}/0", "authentication", Exit.CONFIGURATION),
        ("redis://:hunter2@redis.invalid:6379/0", "dns", Exit.CONFIGURATION),
        ("redis://:hunter2@127.0.0.1:{closed}/0", "tcp", Exit.UNAVAILABLE),
        ("redis://:hunter2@127.0.0.1:{silent}/0", "ping", Exit.UNAVAILABLE),
        ("redis://:hunter2/3@localhost/0", "address", Exit.CONFIGURATION),
        ("http://:hunter2@localhost/0", "address", Exit.CONFIGURATION),
    ],
)
async def test_a_fault_of_redis_fails_its_step(
    redis: Redis, closed_port: int, url: str, step: str, code: Exit
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ports = {"closed": closed_port, "silent": silent.getsockname()[1], "port": redis.port}
        checks = await run_checks({"redis": {"url": url.format(**ports)}}, limit_s=2.0)
    failure = only_failure(checks)
    assert (failure.name, exit_code(checks)) == (f"redis: {step}", code)
    assert not any("hunter2" in f"{check.detail} {check.advice}" for check in checks)


async def test_an_address_whose_file_is_missing_fails_its_step(tmp_path: Path) -> None:
    missing = tmp_path / "secret"
    checks = await run_checks(
        {
            "mongo": {"uri_file": missing},
            "postgres": {"dsn_file": missing},
            "redis": {"url_file": missing},
        }
    )
    failed = {
        check.name
        for check in checks
        if check.outcome is Outcome.FAILED and str(missing) in check.detail
    }
    assert failed == {"mongodb: address", "postgresql: address", "redis: address"}
