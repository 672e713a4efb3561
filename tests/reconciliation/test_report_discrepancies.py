"""The pages of discrepancies that the API shows."""

import random

import asyncpg
import pytest

from reconciliation.comparison import DiscrepancyFinding
from reconciliation.discrepancies import SCAN_LIMIT, record_findings
from reconciliation.postgres_reports import ReportLimits
from reconciliation.reports import DiscrepancyKind, DiscrepancyState
from tests.eventually import eventually
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import CHANNEL
from tests.reconciliation.report_readers import ID, limited_reports

pytestmark = [
    pytest.mark.usefixtures("close_broken_connections"),
    pytest.mark.filterwarnings(
        "ignore:unclosed <socket:ResourceWarning"
    ),  # of interrupted attempts to connect
]


class DiscrepancyWriter:
    """Opens and closes discrepancies, as the daemon does."""

    def __init__(
        self, connection: "asyncpg.Connection[asyncpg.Record]", random_choices: random.Random
    ) -> None:
        self._connection, self._random_choices = connection, random_choices
        self._opened = 0
        self.open: dict[str, DiscrepancyFinding] = {}

    async def write(self) -> None:
        """Open a few discrepancies of random kinds, and close a few others."""
        new = [self._finding() for _ in range(self._random_choices.randrange(5))]
        closed = self._random_choices.sample(
            sorted(self.open), min(len(self.open), self._random_choices.randrange(3))
        )
        for subject in closed:
            del self.open[subject]
        self.open |= {finding.subject: finding for finding in new}
        compared = [("", subject) for subject in closed]
        await record_findings(self._connection, CHANNEL, compared, new)
        await record_findings(self._connection, "another", (), [self._finding()])

    def _finding(self) -> DiscrepancyFinding:
        self._opened += 1
        kind = self._random_choices.choice([DiscrepancyKind.MISSING_ROW, DiscrepancyKind.REFUSED])
        return DiscrepancyFinding(kind, "", f"{self._opened}", ID, {"block": 7}, {})

    async def ids(self, kind: DiscrepancyKind | None, state: DiscrepancyState) -> set[int]:
        """Return the ids of the present discrepancies of a kind and state."""
        condition = {
            "open": "closed_at IS NULL",
            "closed": "closed_at IS NOT NULL",
            "all": "true",
        }[state]
        rows = await self._connection.fetch(
            "SELECT id FROM ledger_discrepancies "
            f"WHERE channel = $1 AND ($2::text IS NULL OR kind = $2) AND {condition}",
            CHANNEL,
            kind,
        )
        return {record["id"] for record in rows}


@pytest.mark.parametrize("state", DiscrepancyState)
@pytest.mark.parametrize("kind", [None, DiscrepancyKind.REFUSED])
@pytest.mark.parametrize("scan_limit", [7, SCAN_LIMIT])
async def test_paging_neither_skips_nor_repeats_during_changes(
    gateway: Gateway,
    reporter_dsn: str,
    state: DiscrepancyState,
    kind: DiscrepancyKind | None,
    scan_limit: int,
) -> None:
    writer = DiscrepancyWriter(gateway.connection, random.Random(1))
    for _ in range(30):
        await writer.write()
    always_present = await writer.ids(kind, state)
    newest_at_begin = max(always_present)
    seen: list[int] = []
    after: int | None = None
    async with limited_reports(
        reporter_dsn, ReportLimits(scanned_discrepancies=scan_limit)
    ) as reports:
        while True:
            page = await reports.discrepancies(kind, state, after, 5)
            seen += [item.id for item in page.items]
            assert all(kind in (None, item.kind) for item in page.items)
            assert all(
                state == "all" or (state == "open") == (item.closed_at is None)
                for item in page.items
            )
            if page.next is None:
                break
            after = page.next
            await writer.write()
            always_present &= await writer.ids(kind, state)
    assert seen == sorted(set(seen), reverse=True)
    assert set(seen) >= always_present
    assert len(always_present) > 5
    assert max(seen) <= newest_at_begin


async def test_no_report_scans_a_whole_table(gateway: Gateway, reporter_dsn: str) -> None:
    """Neither for rare values, nor before PostgreSQL knows the size of the table."""
    await gateway.connection.execute(
        """
        ALTER TABLE transactions DISABLE TRIGGER USER;
        ALTER TABLE transactions SET (autovacuum_enabled = off);
        ALTER TABLE ledger_discrepancies SET (autovacuum_enabled = off);
        INSERT INTO transactions (tx_hash, transaction_type)
        SELECT lpad(to_hex(n), 64, '0'), 'DONATE' FROM generate_series(1, 30000) AS n;
        INSERT INTO ledger_discrepancies
            (channel, kind, subject, tx_hash, ledger, found, closed_at)
        SELECT CASE WHEN n % 3 = 0 THEN 'another' ELSE 'kindledger' END, 'missing_row', n::text,
            '', '{}', '{}', CASE WHEN n % 100 < 99 THEN now() END
        FROM generate_series(1, 30000) AS n;
        """
    )
    for when in ("before ANALYZE", "after ANALYZE"):
        if when == "after ANALYZE":
            await gateway.connection.execute("ANALYZE")
        before = await count_scans(gateway)
        await read_every_report(reporter_dsn)

        async def index_scans_are_counted(
            before: dict[str, tuple[int, int]] = before,
        ) -> bool:
            now = await count_scans(gateway)
            return all(now[table][1] > before[table][1] for table in before)

        await eventually(index_scans_are_counted)
        after = await count_scans(gateway)
        whole_scans = {table: after[table][0] - before[table][0] for table in before}
        assert whole_scans == dict.fromkeys(before, 0), when


async def read_every_report(reporter_dsn: str) -> None:
    async with limited_reports(reporter_dsn, ReportLimits(scanned_discrepancies=1_000)) as reports:
        found = await reports.rows([f"{n:064x}" for n in range(100, 600)])
        assert all(len(rows.rows) == 1 for rows in found.values())
        for state in DiscrepancyState:
            for kind in (None, DiscrepancyKind.REFUSED):
                for after in (None, 15_000):
                    await reports.discrepancies(kind, state, after, 50)


async def count_scans(gateway: Gateway) -> dict[str, tuple[int, int]]:
    """Return for each table the number of whole scans, and of scans by an index."""
    await gateway.connection.execute("SELECT pg_stat_clear_snapshot()")
    rows = await gateway.connection.fetch(
        "SELECT relname, seq_scan, idx_scan FROM pg_stat_user_tables "
        "WHERE relname IN ('transactions', 'ledger_discrepancies')"
    )
    return {name: (whole_scans, index_scans) for name, whole_scans, index_scans in rows}
