"""The audit of a channel: the last verification, and the reconciliation of business rows."""

from explorer_api.http.page_cursors import PageCursor, query_digest, read_cursor, write_cursor
from explorer_api.http.parameters import CURSOR, LIMIT, choice, equality_filter
from explorer_api.http.problems import ProblemError, unavailable
from explorer_api.http.responses import NO_STORE, ApiResponse
from explorer_api.live.heads import HeadSnapshot
from explorer_api.routing.calls import ChannelCall
from explorer_api.schemas.audit import (
    Audit,
    DiscrepancyList,
    LedgerAudit,
    LedgerVerdict,
    RowsAudit,
    SignaturesAudit,
    SignaturesVerdict,
)
from explorer_api.schemas.paging import PageInfo
from ledger.mongodb.sync_state import ChannelState, Reconciliation, ScrubState, Verification
from reconciliation.reports import (
    BusinessReports,
    BusinessUnavailableError,
    DiscrepancyKind,
    DiscrepancyState,
    SettlementStatus,
    rows_verdict,
)

KIND = equality_filter(choice("kind", *DiscrepancyKind))
STATE = equality_filter(choice("state", *DiscrepancyState, default=DiscrepancyState.OPEN))


async def get_audit(call: ChannelCall) -> ApiResponse:
    """Return the result of the last verification, and the reconciliation of business rows."""
    sync = call.snapshot.sync
    verification = sync.verification if sync is not None else None
    reported = sync.reconciliation if sync is not None else None
    reports = call.business_reports
    rows = None
    if reports is not None or reported is not None:
        first = call.snapshot.first
        rows = await _audit_rows(reports, reported, first["number"] if first is not None else 0)
    scrub = sync.scrub if sync is not None else None
    ledger = _audit_ledger(verification, scrub)
    audit = Audit(call.snapshot.height, ledger, _audit_signatures(call.snapshot), rows)
    return ApiResponse(audit, NO_STORE)


def _audit_ledger(verification: Verification | None, scrub: ScrubState | None) -> LedgerAudit:
    found = scrub is not None and scrub.has_differences
    if verification is None:
        return LedgerAudit("different" if found else "unknown", None, None, None, None, scrub)
    verdict: LedgerVerdict = "equal" if verification.compared else "consistent"
    found = found and scrub is not None and scrub.started_at > verification.at
    if verification.differences or found:
        verdict = "different"
    return LedgerAudit(
        verdict,
        verification.at,
        verification.height,
        verification.differences,
        verification.kinds,
        scrub,
    )


def _audit_signatures(snapshot: HeadSnapshot) -> SignaturesAudit:
    height, contradictions = snapshot.verified_height, snapshot.contradictions
    verdict: SignaturesVerdict = "unknown"
    if height:
        verdict = "contradicted" if contradictions else "consistent"
    found = snapshot.sync.envelopes if snapshot.sync is not None else None
    first = found.first_contradiction if found is not None else None
    return SignaturesAudit(verdict, height, contradictions, first)


async def _audit_rows(
    reports: BusinessReports | None, reported: Reconciliation | None, start: int
) -> RowsAudit:
    """Return the audit of the rows.

    Without the business database, the last report of a daemon that follows the ledger counts.
    """
    status: SettlementStatus | None = None
    is_unavailable = False
    if reports is not None:
        try:
            status = await reports.status()
        except BusinessUnavailableError:
            is_unavailable = True
    due = reported.due_height if reported is not None else None
    audited: int | None
    target: int | None
    if status is not None:
        audited = status.audited_height
        discrepancies = sum(count.count for count in status.discrepancies)
        target = status.height if due is None else due
    elif reported is not None and reported.state is ChannelState.FOLLOWING:
        audited, discrepancies, target = reported.audited_height, reported.discrepancies, due
    else:
        return RowsAudit("unknown", None, reported, status, is_unavailable)
    verdict = rows_verdict(discrepancies, start=start, audited=audited, target=target)
    return RowsAudit(verdict, audited, reported, status, is_unavailable)


async def list_discrepancies(call: ChannelCall) -> ApiResponse:
    """Return discrepancies between business rows and the ledger, the newest first.

    These are the open discrepancies, unless the request has another state.
    """
    reports = call.business_reports
    if reports is None:
        raise ProblemError(
            404,
            "not-reconciled",
            "Not reconciled",
            f"This API has no business database for channel {call.channel.name}.",
            "The operator can configure postgres and reconcile.channel.",
        )
    kind, state, limit = call.query.get(KIND), call.query.require(STATE), call.query.require(LIMIT)
    digest = query_digest("discrepancies", call.channel.name, kind, state)
    cursor = call.query.get(CURSOR)
    after = read_cursor(cursor, digest).after if cursor is not None else None
    try:
        page = await reports.discrepancies(
            DiscrepancyKind(kind) if kind is not None else None,
            DiscrepancyState(state),
            after,
            limit,
        )
    except BusinessUnavailableError as error:
        raise unavailable(
            "business-unavailable",
            "Business database unavailable",
            str(error),
            "Try again shortly. Routes that only need the ledger work meanwhile.",
        ) from error
    next_cursor = write_cursor(PageCursor(digest, 0, page.next)) if page.next is not None else None
    return ApiResponse(DiscrepancyList(page.items, PageInfo(next_cursor, limit)), NO_STORE)
