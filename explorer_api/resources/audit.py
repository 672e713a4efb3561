"""What the last cross-check found: of the ledger's copy against itself and the chain, of business rows against it."""

from typing import Literal

from explorer_api.http.page_cursors import PageCursor, query_digest, read_cursor, write_cursor
from explorer_api.http.parameters import CURSOR, LIMIT, choice
from explorer_api.http.problems import ProblemError, unavailable
from explorer_api.http.responses import NO_STORE, ApiResponse
from explorer_api.routing.calls import ChannelCall
from explorer_api.schemas.audit import Audit, DiscrepancyList, LedgerAudit, RowsAudit
from explorer_api.schemas.paging import PageInfo
from ledger.mongodb.sync_state import ChannelState, Reconciliation, Verification
from reconciliation.reports import (
    BusinessReports,
    BusinessUnavailableError,
    DiscrepancyKind,
    DiscrepancyState,
    SettlementStatus,
)

KIND = choice("kind", *DiscrepancyKind)
STATE = choice("state", *DiscrepancyState, default=DiscrepancyState.OPEN)


async def get_audit(call: ChannelCall) -> ApiResponse:
    """The last cross-check: when, how far, and what it found."""
    sync = call.snapshot.sync
    verification = sync.verification if sync is not None else None
    reported = sync.reconciliation if sync is not None else None
    books = _books(call)
    rows = await _rows(books, reported) if books is not None or reported is not None else None
    return ApiResponse(Audit(call.snapshot.height, _ledger(verification), rows), NO_STORE)


def _ledger(verification: Verification | None) -> LedgerAudit:
    if verification is None:
        return LedgerAudit("unknown", None, None, None, None)
    verdict: Literal["equal", "consistent", "different"] = (
        "equal" if verification.compared else "consistent"
    )
    if verification.differences:
        verdict = "different"
    return LedgerAudit(
        verdict, verification.at, verification.height, verification.differences, verification.kinds
    )


async def _rows(books: BusinessReports | None, reported: Reconciliation | None) -> RowsAudit:
    standing: SettlementStatus | None = None
    away = False
    if books is not None:
        try:
            standing = await books.status()
        except BusinessUnavailableError:
            away = True
    open_now = (
        sum(count.count for count in standing.discrepancies) if standing is not None else None
    )
    if open_now is None and reported is not None and reported.state is ChannelState.FOLLOWING:
        open_now = reported.discrepancies
    if open_now is None:
        return RowsAudit("unknown", reported, standing, away)
    return RowsAudit("different" if open_now else "equal", reported, standing, away)


async def list_discrepancies(call: ChannelCall) -> ApiResponse:
    """Where business rows and ledger differ: open ones, unless others are asked for; the newest first."""
    books = _books(call)
    if books is None:
        raise ProblemError(
            404,
            "not-reconciled",
            "Not reconciled",
            f"This API knows no business database that names transactions of channel {call.channel.name}.",
            "The operator can configure postgres and reconcile.channel.",
        )
    kind, state, limit = call.query.get(KIND), call.query.require(STATE), call.query.require(LIMIT)
    asked = query_digest("discrepancies", call.channel.name, kind, state)
    text = call.query.get(CURSOR)
    after = read_cursor(text, asked).after if text is not None else None
    try:
        page = await books.discrepancies(
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
            "Try again shortly; the ledger itself is served meanwhile.",
        ) from error
    following = write_cursor(PageCursor(asked, 0, page.next)) if page.next is not None else None
    return ApiResponse(DiscrepancyList(page.items, PageInfo(following, limit)), NO_STORE)


def _books(call: ChannelCall) -> BusinessReports | None:
    business = call.services.business_reports
    return business if business is not None and business.channel == call.channel.name else None
