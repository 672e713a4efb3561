"""Audits a range of one channel's ledger: makes every check, and returns the report."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from pymongo import AsyncMongoClient

from cli.assembly.indexes import index_failures
from cli.assembly.stored_ledger import is_in_step
from cli.audit.blocks import AuditRange, audit_range
from cli.audit.context import AuditContext
from cli.audit.ledger_checks import check_agreement, check_consistency, check_envelopes
from cli.audit.report import AuditReport, CheckName, Checks, Finding, verdict
from cli.audit.row_checks import check_rows
from cli.audit.source_checks import OpenSource, check_source
from cli.audit.when import When
from cli.configuration.settings import Settings
from cli.errors import ConfigurationError
from cli.version import VERSION
from ledger.mongodb.block_range import stored_range
from ledger.mongodb.reader import LedgerReader
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import SyncState, read_sync_state
from ledger.mongodb.verification_queries import is_continued


class AuditRequest(Struct, frozen=True):
    """What an auditor asks for: a range of a channel, and the digest that its end should have."""

    channel: str
    database: str
    begin: When
    end: When
    expected_digest: str | None = None


@dataclass(frozen=True)
class AuditParts:
    """What an audit is given.

    `open_source` returns the source of blocks to compare with, None if there is none. `found`
    receives each finding; `phase` and `advance` show the progress, see `AuditContext`.
    """

    client: AsyncMongoClient[Any]
    open_source: OpenSource | None
    found: Callable[[Finding], None]
    phase: Callable[[str, int], None]
    advance: Callable[[int], None]


async def audit(
    settings: Settings, request: AuditRequest, parts: AuditParts, now: datetime
) -> AuditReport:
    """Make every check over the range, and return the report.

    Raises `ConfigurationError` if nothing of the channel is stored, and `UnavailableError` if the
    index of times does not exist yet.
    """
    store = LedgerStore(parts.client, request.database)
    await store.check_format()
    stored = await stored_range(store.database)
    if stored is None:
        raise ConfigurationError(
            f"{request.channel}: no block of it is stored in this MongoDB, so there is nothing to "
            "audit"
        )
    with index_failures():
        audited = await audit_range(store.database, stored, request.begin, request.end)
    checks, digest = Checks(parts.found), None
    if audited.blocks is None:
        checks.not_checked(CheckName, next(audited.gaps(now, is_last=True)))
    else:
        context = AuditContext(
            settings=settings,
            channel=request.channel,
            store=store,
            reader=LedgerReader(parts.client, request.database),
            state=await _state(store),
            range=audited,
            blocks=audited.blocks,
            checks=checks,
            now=now,
            phase=parts.phase,
            advance=parts.advance,
        )
        digest = await _check(context, request, parts)
    return _report(request, audited, checks, digest, now)


async def _check(context: AuditContext, request: AuditRequest, parts: AuditParts) -> str | None:
    """Make every check; return the digest of the last block."""
    digest = await check_consistency(context, request.expected_digest)
    source = await check_source(context, parts.open_source)
    caught_up = await _check_range(context, in_step=source.in_step)
    await check_envelopes(context, verified_by_source=source.verified)
    check_agreement(context)
    await check_rows(context, caught_up=caught_up)
    return digest


async def _check_range(context: AuditContext, *, in_step: bool) -> bool:
    """Check that all blocks of the range are stored.

    `in_step` says whether the source has no higher block than the store. Return whether a
    transaction that is not stored is not on the ledger: all blocks of the range are stored, or all
    that there are now.
    """
    in_step = in_step or is_in_step(context.state, context.range.stored.height)
    goes_on = await is_continued(context.store.database, context.blocks.highest)
    check = context.checks[CheckName.RANGE]
    check.checked = context.blocks.height - context.blocks.lowest
    for reason in context.range.gaps(context.now, is_last=not (in_step or goes_on)):
        check.not_checked(reason)
    return in_step or not check.reasons


async def _state(store: LedgerStore) -> SyncState | None:
    """Return the last report of a daemon; None if another version wrote it."""
    try:
        return await read_sync_state(store.database)
    except msgspec.ValidationError:
        return None


def _report(
    request: AuditRequest,
    audited: AuditRange,
    checks: Checks,
    digest: str | None,
    now: datetime,
) -> AuditReport:
    reports, blocks = checks.reports(), audited.blocks
    return AuditReport(
        channel=request.channel,
        at=now,
        version=VERSION,
        range_from=request.begin.text,
        range_to=request.end.text,
        since=audited.since,
        until=audited.until,
        rule=audited.rule,
        first_block=blocks.lowest if blocks is not None else None,
        last_block=blocks.highest if blocks is not None else None,
        start_block=audited.stored.lowest,
        height=audited.stored.height,
        digest=digest,
        findings=sum(report.findings for report in reports),
        exit_code=checks.exit_code,
        verdict=verdict(checks.exit_code, reports),
        checks=reports,
    )
