"""`config/postgres-setup.sh`, which creates the users of docker-compose.yml, with PostgreSQL."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import asyncpg
import pytest

from cli.doctor.checks import exit_code
from cli.errors import Exit
from devnet.servers.programs import POSTGRES, find_program
from tests.cli.support import ROOT, run_checks

PASSWORD = 'it\'s a "pass\\word"'


@pytest.fixture
async def database(business_database: str) -> AsyncIterator[str]:
    """A migrated database. The users that the script creates are dropped afterwards."""
    yield business_database
    connection = await asyncpg.connect(business_database)
    await connection.execute("DROP ROLE IF EXISTS kindledger_daemon, kindledger_reader")
    await connection.close()


async def test_each_user_has_just_what_it_needs(database: str, tmp_path: Path) -> None:
    path = os.pathsep.join((str(find_program(POSTGRES).parent), os.environ["PATH"]))
    if shutil.which("psql", path=path) is None:
        pytest.skip("psql is not installed")
    server = urlsplit(database)
    (tmp_path / "postgres_password").write_text(server.password or "")
    variables = {
        "PATH": path,
        "SECRETS": str(tmp_path),
        "PGHOST": str(server.hostname),
        "PGPORT": str(server.port),
    }
    variables |= {"PGUSER": str(server.username), "PGDATABASE": server.path.removeprefix("/")}
    for password in ("the first one", PASSWORD):
        (tmp_path / "postgres_indexer_password").write_text(password)
        (tmp_path / "postgres_api_password").write_text(password)
        script = ROOT / "config" / "postgres-setup.sh"
        await asyncio.to_thread(subprocess.run, [script], env=os.environ | variables, check=True)
    login = f"kindledger_daemon:{quote(PASSWORD, safe='')}"
    dsn = f"postgresql://{login}@{server.hostname}:{server.port}{server.path}"
    assert exit_code(await run_checks({"postgres": {"dsn": dsn}})) is Exit.OK
    connection = await asyncpg.connect(dsn)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("UPDATE campaigns SET raised_amount = 0")
    await connection.close()
    reader = await asyncpg.connect(dsn.replace("kindledger_daemon", "kindledger_reader"))
    assert await reader.fetchval("SELECT count(*) FROM ledger_discrepancies") == 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.execute("UPDATE transactions SET status = 'CONFIRMED'")
    await reader.close()
