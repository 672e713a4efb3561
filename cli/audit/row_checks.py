"""The checks of an audit that compare business rows with the ledger. They only read."""

from datetime import datetime, timedelta
from typing import Any, Final

from bson.errors import BSONError

from cli.assembly.postgres import postgres_failures
from cli.assembly.reconciliation import configured_mapping, postgres_servers, reconciled_channel
from cli.audit.blocks import row_period
from cli.audit.context import AuditContext
from cli.audit.report import CheckName, counted
from cli.errors import ConfigurationError, PostgresUnavailableError
from ledger.errors import LedgerError
from ledger.position import Height
from reconciliation.discrepancies import read_open_of_blocks
from reconciliation.errors import ReconciliationError
from reconciliation.ledger_transactions import LedgerTransactions
from reconciliation.migrations.migrator import check_schema
from reconciliation.migrations.scripts import MigrationError, load_migrations
from reconciliation.postgres_servers import PostgresServers
from reconciliation.reports import Discrepancy, DiscrepancyKind
from reconciliation.row_audit import RowAudit, RowFinding, SettledLedger
from reconciliation.row_reader import RowReader
from reconciliation.schema_check import checked_statements
from reconciliation.settlement_status import read_settlement_status

_ALL: Final = (CheckName.ROWS, CheckName.MISSING_ROWS, CheckName.DISCREPANCIES)
_PAGE: Final = 1_000


async def check_rows(context: AuditContext, *, caught_up: bool) -> None:
    """Compare the rows of the range with the ledger, and list its open discrepancies.

    `caught_up` says whether a transaction of the range that is not stored is not on the ledger.
    """
    checks = context.checks
    try:
        channel = reconciled_channel(context.settings)
        if channel != context.channel:
            reason = (
                "postgres.dsn is not set"
                if channel is None
                else f"the business database belongs to channel {channel}"
            )
            for name in _ALL:
                checks[name].not_configured(reason)
            return
        with postgres_failures():
            async with postgres_servers(context.settings.postgres, read_only=True) as servers:
                await _RowChecks(context, servers).make(caught_up=caught_up)
    except PostgresUnavailableError as error:
        checks.not_checked(_ALL, str(error), unavailable=True)
    except (ConfigurationError, ReconciliationError, MigrationError, LedgerError) as error:
        checks.not_checked(_ALL, str(error))


class _RowChecks:
    """The checks of the rows of one business database."""

    def __init__(self, context: AuditContext, servers: PostgresServers) -> None:
        self._context, self._servers = context, servers
        self._checks, self._blocks = context.checks, context.blocks
        self._business = configured_mapping(context.settings.reconcile)

    async def make(self, *, caught_up: bool) -> None:
        """Make the checks."""
        grace_s, pool = self._context.settings.reconcile.grace_s, self._servers.primary
        async with pool.acquire() as connection:
            await check_schema(connection, load_migrations())
            statements = await checked_statements(connection, self._business, settling=False)
            status = await read_settlement_status(
                connection, self._context.channel, self._business, grace_s
            )
        transactions = LedgerTransactions(self._context.store, self._business)
        if not await transactions.can_look_up():
            reason = "the index of transaction ids does not exist yet"
            self._checks.not_checked((CheckName.ROWS, CheckName.MISSING_ROWS), reason)
        else:
            ledger = SettledLedger(
                height=self._context.range.stored.height,
                settled_height=Height(status.height),
                caught_up=caught_up,
                grace_began_ms=_milliseconds(self._context.now - timedelta(seconds=grace_s)),
            )
            rows = RowReader(pool, self._business, statements, grace_s)
            audit = RowAudit(rows, transactions, self._business.tables, ledger, self._record)
            try:
                await self._compare(audit)
            except (KeyError, TypeError, AttributeError, BSONError) as error:
                reason = f"a stored document was changed so that it cannot be read: {error!r}"
                self._checks.not_checked((CheckName.ROWS, CheckName.MISSING_ROWS), reason)
        await self._list_discrepancies()

    async def _compare(self, audit: RowAudit) -> None:
        context, blocks = self._context, self._blocks
        context.begin("comparing rows of")
        await audit.compare_blocks(blocks.lowest, blocks.height, context.reached)
        await audit.compare_period(await row_period(context.store.database, context.range, blocks))
        counts, rows = audit.counts, self._checks[CheckName.ROWS]
        missing = self._checks[CheckName.MISSING_ROWS]
        rows.checked, missing.checked = counts.rows, counts.transactions
        if counts.waiting:
            rows.not_checked(f"{counted(counts.waiting, 'row')} to be settled yet")
        if counts.undecided:
            what = counted(counts.undecided, "row")
            rows.not_checked(f"{what} whose transaction may be in a later block")
        if counts.young:
            missing.not_checked(f"{counted(counts.young, 'transaction')} without a row yet")
        if counts.unread_blocks:
            reason = f"the rows of {counted(counts.unread_blocks, 'missing block')}"
            self._checks.not_checked((CheckName.ROWS, CheckName.MISSING_ROWS), reason)
        if not self._business.missing_rows:
            missing.not_configured("reconcile.missing_rows is off")

    def _record(self, finding: RowFinding) -> None:
        is_missing = finding.kind == DiscrepancyKind.MISSING_ROW
        check = self._checks[CheckName.MISSING_ROWS if is_missing else CheckName.ROWS]
        subject = finding.subject if is_missing else f"{finding.table} {finding.subject}"
        what = _describe(finding.hash, finding.table, finding.ledger, finding.found)
        check.add(finding.kind, what, block=finding.block, subject=subject)

    async def _list_discrepancies(self) -> None:
        check, after = self._checks[CheckName.DISCREPANCIES], 0
        check.checked = self._blocks.height - self._blocks.lowest
        while True:
            async with self._servers.primary.acquire() as connection:
                page = await read_open_of_blocks(
                    connection,
                    self._context.channel,
                    self._blocks.lowest,
                    self._blocks.highest,
                    after=after,
                    limit=_PAGE,
                )
            for each in page:
                subject = f"{each.table} {each.subject}".strip()
                what = f"open since {each.opened_at:%Y-%m-%d}: "
                what += _describe(each.tx_hash, each.table, each.ledger, each.found)
                check.add(each.kind, what, block=_block_of(each), subject=subject)
            if len(page) < _PAGE:
                return
            after = page[-1].id


def _describe(tx_hash: str, table: str, ledger: dict[str, Any], found: dict[str, Any]) -> str:
    """Return both sides in words: `hash ab…, ledger: status VALID, …, row: status FAILED, …`."""
    sides = [f"hash {tx_hash}", f"ledger: {_side(ledger) or 'no such transaction'}"]
    sides.append(f"row: {_side(found)}" if table else "no row names it")
    return "; ".join(sides)


def _side(side: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in side.items() if name != "hash")


def _block_of(discrepancy: Discrepancy) -> int | None:
    block = discrepancy.ledger.get("block", discrepancy.found.get("block"))
    return block if isinstance(block, int) else None


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
