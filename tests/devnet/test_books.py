"""The applications' business rows: in due time, once, whatever happens to PostgreSQL, and with some mistakes."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path

import asyncpg
import pytest

from devnet.application import BusinessApplication
from devnet.application.scheduled_rows import MAX_DELAY_BLOCKS, Mistake, mistake_of
from devnet.forge.forger import ForgedBlock, Recipe, forge
from devnet.forge.gateway import Submission
from protos.transaction_pb2 import DUPLICATE_TXID, VALID

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 20, tzinfo=UTC)
HEIGHT = 60
RECIPE = Recipe(
    seed=9,
    transactions_per_block=range(30, 41),
    invalid_share=0.05,
    hostile_share=0.005,
    signed=False,
)
CHAIN = tuple(islice(forge(RECIPE), HEIGHT + MAX_DELAY_BLOCKS + 1))
TYPES = {
    "CreateCampaign": "CREATE_CAMPAIGN",
    "Donate": "DONATE",
    "TokenDonate": "DONATE",
    "Disburse": "DISBURSE",
    "UpdateStatus": "UPDATE_STATUS",
}
TABLES = ("organizations", "users", "campaigns", "transactions", "donations")


def business(blocks: Iterable[ForgedBlock]) -> dict[str, tuple[int, Submission]]:
    """Every business transaction with its block, by its id; clients that make ids up use them again, in vain."""
    found: dict[str, tuple[int, Submission]] = {}
    for block in blocks:
        for submission in block.submissions:
            if (
                submission.function in TYPES
                and submission.tx_id
                and submission.code != DUPLICATE_TXID
            ):
                found.setdefault(submission.tx_id, (block.number, submission))
    return found


@asynccontextmanager
async def at_work(dsn: str, blocks: Iterable[ForgedBlock]) -> AsyncIterator[BusinessApplication]:
    """A bookkeeper that was told of these blocks, and writes."""
    application = BusinessApplication(dsn)
    for block in blocks:
        application.submit(block, NOW)
    writing = asyncio.create_task(application.run())
    yield application
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing


async def all_written(application: BusinessApplication) -> None:
    """Returns once every row that is due is written."""

    async def idle() -> bool:
        return not application.queued_rows

    await until(idle)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Returns once it holds; fails after 20 seconds."""
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - other processes change it
            await asyncio.sleep(0.02)


class Database:
    """What a test looks at."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.execute = connection.execute
        self._connection = connection

    async def table(self, name: str, column: str) -> dict[str, asyncpg.Record]:
        """The rows by a column; those that have none are left out."""
        rows = await self._connection.fetch(f"SELECT * FROM {name} WHERE {column} IS NOT NULL")
        return {row[column]: row for row in rows}

    async def donations(self) -> dict[str, asyncpg.Record]:
        """The donations by the transaction that they mean, however they spell it."""
        rows = await self.table("donations", "blockchain_tx_hash")
        return {written.lower().removeprefix("0x"): row for written, row in rows.items()}

    async def all(self) -> list[list[asyncpg.Record]]:
        """Every row."""
        return [
            await self._connection.fetch(f"SELECT * FROM {name} ORDER BY id") for name in TABLES
        ]


@pytest.fixture
async def database(business_database: str) -> AsyncIterator[Database]:
    connection = await asyncpg.connect(business_database)
    yield Database(connection)
    await connection.close()


async def test_every_business_transaction_has_its_rows(
    business_database: str, database: Database
) -> None:
    async with at_work(business_database, CHAIN) as application:
        await all_written(application)
    transactions, donations = (
        await database.table("transactions", "tx_hash"),
        await database.donations(),
    )
    campaigns = await database.table("campaigns", "id")
    submitted = business(CHAIN[: HEIGHT + 1])
    for tx_id, (_, submission) in submitted.items():
        if mistake_of(submission):
            continue
        row, function, args = transactions[tx_id], submission.function, submission.args
        amount = None if function in {"CreateCampaign", "UpdateStatus"} else Decimal(args[-1])
        assert tuple(row[c] for c in ("transaction_type", "campaign_id", "amount")) == (
            TYPES[function],
            args[0],
            amount,
        )
        assert (row["status"], row["block_number"]) == ("PENDING", None)
        if TYPES[function] == "DONATE":
            row = donations[tx_id]
            assert tuple(row[c] for c in ("campaign_id", "donor_name", "amount")) == (
                args[0],
                args[1],
                amount,
            )
            assert row["status"] == "PENDING"
        if function == "CreateCampaign":
            row = campaigns[args[0]]
            assert (row["name"], row["goal_amount"], row["blockchain_tx_hash"]) == (
                args[1],
                Decimal(args[2]),
                tx_id,
            )
    assert Counter(row["transaction_type"] for row in transactions.values()).keys() == set(
        TYPES.values()
    )
    assert transactions.keys() <= business(CHAIN).keys()
    spelled = {row["blockchain_tx_hash"] for row in donations.values()} - submitted.keys()
    assert any(written.startswith("0x") for written in spelled)
    assert any(written.isupper() for written in spelled)


async def test_every_mistake_is_made(business_database: str, database: Database) -> None:
    async with at_work(business_database, CHAIN) as application:
        await all_written(application)
    transactions, donations = (
        await database.table("transactions", "tx_hash"),
        await database.donations(),
    )
    by_reference = await database.table("donations", "payment_reference")
    made = set()
    for tx_id, (number, submission) in business(CHAIN[: HEIGHT + 1]).items():
        mistake = mistake_of(submission)
        reference = f"pay-{tx_id[:12]}"
        made.add((mistake, submission.code == VALID))
        match mistake:
            case Mistake.OTHER_AMOUNT:
                assert (
                    donations[tx_id]["amount"]
                    > Decimal(submission.args[2])
                    == transactions[tx_id]["amount"]
                )
            case Mistake.CONFIRMED_BY_HAND:
                assert transactions[tx_id]["status"] == "CONFIRMED"
                assert transactions[tx_id]["block_number"] != number
            case Mistake.NEVER_SUBMITTED:
                written = by_reference[reference]["blockchain_tx_hash"]
                assert len(written) == 64
                assert written not in business(CHAIN)
            case Mistake.PAYMENT_REFERENCE:
                assert by_reference[reference]["blockchain_tx_hash"] == reference
            case Mistake.NO_ROW:
                assert tx_id not in transactions
                assert reference not in by_reference
    assert made >= {(mistake, True) for mistake in Mistake} | {(Mistake.CONFIRMED_BY_HAND, False)}


def test_mistakes_are_rare_on_an_everyday_network() -> None:
    blocks = tuple(islice(forge(Recipe(hostile_share=0.005, signed=False)), 600))
    mistakes = [
        tx_id for tx_id, (_, submission) in business(blocks).items() if mistake_of(submission)
    ]
    assert 600 / 60 < len(mistakes) < 600 / 15


async def test_most_rows_precede_their_block_and_the_others_follow_soon(
    business_database: str, database: Database
) -> None:
    newest = 30
    right = {
        tx_id for tx_id, (_, each) in business([CHAIN[newest]]).items() if not mistake_of(each)
    }
    given = {
        tx_id
        for tx_id, (_, each) in business([CHAIN[newest]]).items()
        if TYPES[each.function] == "DONATE"
    } & right

    async with at_work(business_database, CHAIN[: newest + 1]) as application:
        await all_written(application)
        early = right & (await database.table("transactions", "tx_hash")).keys()
        assert len(right) > len(early) > len(right) / 2
        hashed = given & (await database.donations()).keys()
        assert len(given) > len(hashed) > len(given) / 3

        for block in CHAIN[newest + 1 : newest + 1 + MAX_DELAY_BLOCKS]:
            application.submit(block, NOW)
        await all_written(application)
        assert right <= (await database.table("transactions", "tx_hash")).keys()
        assert given <= (await database.donations()).keys()


async def test_blocks_that_are_entered_again_change_nothing(
    business_database: str, database: Database
) -> None:
    async with at_work(business_database, CHAIN) as application:
        await all_written(application)
    await database.execute("UPDATE transactions SET status = 'FAILED' WHERE status = 'PENDING'")
    await database.execute(
        "UPDATE donations SET status = 'CONFIRMED' WHERE blockchain_tx_hash IS NOT NULL"
    )
    before = await database.all()
    lost = next(
        tx_id for tx_id, (_, each) in business([CHAIN[-20]]).items() if not mistake_of(each)
    )
    await database.execute("DELETE FROM transactions WHERE tx_hash = $1", lost)
    async with at_work(business_database, CHAIN[-20:]) as application:
        await all_written(application)
    assert lost in await database.table("transactions", "tx_hash")
    await database.execute("UPDATE transactions SET status = 'FAILED' WHERE tx_hash = $1", lost)
    assert await database.all() == before


async def test_rows_are_kept_while_postgresql_is_away(
    business_database: str, postgres_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = business_database.rpartition("/")[2]
    admin = await asyncpg.connect(postgres_dsn)
    said = ""

    async def complained() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return bool(said)

    async with at_work(business_database, CHAIN[:30]) as application:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
        )
        for block in CHAIN[30:]:
            application.submit(block, NOW)
        await until(complained)
        await asyncio.sleep(1.5)  # it tries again, and says nothing
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await admin.close()
        await all_written(application)
    await complained()
    connection = await asyncpg.connect(business_database)
    found = await Database(connection).table("transactions", "tx_hash")
    await connection.close()
    wanted = {
        tx_id for tx_id, (_, each) in business(CHAIN[: HEIGHT + 1]).items() if not mistake_of(each)
    }
    assert wanted <= found.keys()
    assert said.count("\n") == 1
    assert "They are kept in memory" in said
    assert postgres_dsn.partition("@")[0].rpartition(":")[2] not in said


async def test_a_campaign_without_a_row_costs_no_other_row(
    business_database: str, database: Database
) -> None:
    ids = ("ab" * 32, "cd" * 32)
    stray = [
        Submission(b"", VALID, tx_id, "kindledger", "Donate", ("nowhere", "Ai đó", "1000"))
        for tx_id in ids
    ]
    assert not any(map(mistake_of, stray))
    async with at_work(
        business_database, [ForgedBlock(number, b"", tuple(stray)) for number in range(5)]
    ) as application:
        await all_written(application)
    transactions = await database.table("transactions", "tx_hash")
    assert {tx_id: row["campaign_id"] for tx_id, row in transactions.items()} == dict.fromkeys(ids)
    assert not await database.donations()


@asynccontextmanager
async def live(folder: Path, dsn_file: Path) -> AsyncIterator[int]:
    """The network as the demo starts it; gives its height at the start, and must end without an error."""
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


async def test_a_live_network_writes_rows_and_goes_on_where_it_stopped(
    business_database: str, database: Database, tmp_path: Path
) -> None:
    address = tmp_path / "postgres"
    address.write_text(f"{business_database}\n")
    known: set[str] = set()

    async def grown() -> bool:
        return len((await database.table("transactions", "tx_hash")).keys() - known) > 20

    async with live(tmp_path / "network", address) as height:
        assert height == 40
        await until(grown)
    known = set(await database.table("transactions", "tx_hash"))
    async with live(tmp_path / "network", address) as height:
        assert height >= 40
        await until(grown)
    donations = await database.table("donations", "payment_reference")
    assert len(donations) == len(await database.table("donations", "id"))  # none twice
