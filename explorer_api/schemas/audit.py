"""The last verification of the stored ledger, and the reconciliation of business rows with it."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from explorer_api.schemas.paging import PageInfo
from ledger.mongodb.sync_state import DifferenceCounts, Reconciliation, ScrubState
from reconciliation.reports import Discrepancy, RowsVerdict, SettlementStatus

LedgerVerdict = Literal["equal", "consistent", "different", "unknown"]


class LedgerAudit(Struct, frozen=True, rename="camel"):
    """The result of the last `kindledger verify`, which checked the blocks below `height`.

    `verdict` is `equal` if every document was compared with the blocks of the chain (`verify
    --source`) and none differs. It is `consistent` if the stored documents were compared only with
    each other and none contradicts another. `differences` counts the differences, and `kinds`
    counts them by kind; `kinds` is null if an older version of this program wrote the result.
    `scrub` is the progress of the daemon's own check, which computes the digests of all stored
    documents again and again; `verdict` is `different` too if it found a difference after the last
    verification.
    """

    verdict: LedgerVerdict
    at: datetime | None
    height: int | None
    differences: int | None
    kinds: DifferenceCounts | None
    scrub: ScrubState | None


SignaturesVerdict = Literal["consistent", "contradicted", "unknown"]


class SignaturesAudit(Struct, frozen=True, rename="camel"):
    """The verification of creators' and endorsers' signatures in the blocks below `height`.

    `verdict` is `contradicted` if the peer gave transactions validation codes that contradict their
    signatures: `contradictions` counts them, and `first_contradiction` is the first block with one.
    It is `unknown` if no block is verified, or if the daemon verifies none.
    """

    verdict: SignaturesVerdict
    height: int | None
    contradictions: int
    first_contradiction: int | None


class RowsAudit(Struct, frozen=True, rename="camel"):
    """The reconciliation of business rows with the ledger.

    `reported` is the last report of the daemon. `standing` is the settlement status in the business
    database now; it is null if the API has no business database, or if the database does not
    answer. `unavailable` is true in the second case.

    `verdict` is about the rows of the blocks below `height`: only their transactions were searched
    for in the rows, and so only their missing rows are known. It is `unknown` if no block was
    searched, if the search has not reached the blocks whose grace period is over, or if neither the
    business database nor a daemon that follows the ledger knows the discrepancies.
    """

    verdict: RowsVerdict
    height: int | None
    reported: Reconciliation | None
    standing: SettlementStatus | None
    unavailable: bool


class Audit(Struct, frozen=True):
    """The last verification of a channel whose ledger has `height` blocks now.

    `rows` is null if no business rows are reconciled with the channel.
    """

    height: int
    ledger: LedgerAudit
    signatures: SignaturesAudit
    rows: RowsAudit | None


class DiscrepancyList(Struct, frozen=True):
    """A page of discrepancies, the newest first."""

    items: list[Discrepancy]
    page: PageInfo
