"""The business application writes each row once, through restarts and outages of PostgreSQL."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from devnet.application.scheduled_rows import mistake_of
from tests.devnet.business_database import (
    CHAIN,
    HEIGHT,
    NOW,
    ROOT,
    Database,
    business_transactions,
    running_application,
    wait_until_written,
)
from tests.eventually import eventually


async def test_a_resubmitted_block_restores_lost_rows_and_changes_no_other_row(
    business_database: str, database: Database
) -> None:
    async with running_application(business_database, CHAIN) as application:
        await wait_until_written(application)
    await database.execute("UPDATE transactions SET status = 'FAILED' WHERE status = 'PENDING'")
    await database.execute(
        "UPDATE donations SET status = 'CONFIRMED' WHERE blockchain_tx_hash IS NOT NULL"
    )
    before = await database.all()
    lost = next(
        tx_id
        for tx_id, (_, each) in business_transactions([CHAIN[-20]]).items()
        if not mistake_of(each)
    )
    await database.execute("DELETE FROM transactions WHERE tx_hash = $1", lost)
    async with running_application(business_database, CHAIN[-20:]) as application:
        await wait_until_written(application)
    assert lost in await database.table("transactions", "tx_hash")
    await database.execute("UPDATE transactions SET status = 'FAILED' WHERE tx_hash = $1", lost)
    assert await database.all() == before


async def test_rows_are_kept_while_postgresql_is_unavailable(
    business_database: str, postgres_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = business_database.rpartition("/")[2]
    admin = await asyncpg.connect(postgres_dsn)
    reports = ""

    def reported() -> str:
        nonlocal reports
        reports += capsys.readouterr().err
        return reports

    async with running_application(business_database, CHAIN[:30], retry_s=0.05) as application:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
        )
        for block in CHAIN[30:]:
            application.submit(block, NOW)
        await eventually(reported)
        await asyncio.sleep(0.3)  # the application tries again without another report
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await admin.close()
        await wait_until_written(application)
    connection = await asyncpg.connect(business_database)
    written = await Database(connection).table("transactions", "tx_hash")
    await connection.close()
    expected = {
        tx_id
        for tx_id, (_, each) in business_transactions(CHAIN[: HEIGHT + 1]).items()
        if not mistake_of(each)
    }
    assert expected <= written.keys()
    assert reported().count("\n") == 1
    assert "They are kept in memory" in reports
    assert postgres_dsn.partition("@")[0].rpartition(":")[2] not in reports


@asynccontextmanager
async def live_network(folder: Path, dsn_file: Path) -> AsyncIterator[int]:
    """Run the network as the demo does; yield its initial height, and require a clean end."""
    options = ("--postgres", str(dsn_file), "--interval-ms", "100", "--initial-blocks", "40")
    command = (sys.executable, "-m", "devnet.live_network", str(folder), *options)
    process: Process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=PIPE, stderr=PIPE
    )
    assert process.stdout is not None
    try:
        yield json.loads(await process.stdout.readline())["height"]
    finally:
        process.terminate()
        _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")


async def test_a_live_network_writes_rows_and_continues_after_a_restart(
    business_database: str, database: Database, tmp_path: Path
) -> None:
    address = tmp_path / "postgres"
    address.write_text(f"{business_database}\n")
    earlier: set[str] = set()

    async def new_rows() -> int:
        return len((await database.table("transactions", "tx_hash")).keys() - earlier)

    async with live_network(tmp_path / "network", address) as height:
        assert height == 40
        await eventually(new_rows, lambda count: count > 20)
    earlier = set(await database.table("transactions", "tx_hash"))
    async with live_network(tmp_path / "network", address) as height:
        assert height >= 40
        await eventually(new_rows, lambda count: count > 20)
    donations = await database.table("donations", "payment_reference")
    assert len(donations) == len(
        await database.table("donations", "id")
    )  # no donation is written twice
