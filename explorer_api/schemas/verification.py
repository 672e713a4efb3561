"""What is known of a block beyond that it is stored: that peers agree, what signatures say."""

from typing import Literal

from msgspec import Struct

from ledger.mongodb.verdicts import StoredVerdict
from ledger.trust.block_findings import Finding, ReasonCount

VerificationState = Literal["stored", "agreed", "verified"]
"""`verified` blocks are agreed too."""


class Verdict(Struct, frozen=True, rename="camel"):
    """What the verification of the signatures of creators and endorsers found in a block.

    `checked` of the `envelopes` were checked, and `not_checked` counts the others by reason.
    `failures` are checks that failed, also of transactions that the peer refused for this very
    reason. `contradictions` are validation codes that contradict the signatures: a peer gave a
    wrong code. Each list has the first 100, the counts are those of all.
    """

    envelopes: int
    checked: int
    not_checked: list[ReasonCount]
    failures: list[Finding]
    failure_count: int
    contradictions: list[Finding]
    contradiction_count: int


class BlockVerification(Struct, frozen=True):
    """What is known of a block.

    `agreed`: the required number of peers gave it. `verified`: the signatures of the creators and
    endorsers, and the endorsement policies, were verified too. `verdict` says what was found; it is
    null if every check was made and passed, and before the verification.
    """

    state: VerificationState
    verdict: Verdict | None


class TransactionVerification(Struct, frozen=True):
    """What is known of a transaction, as for its block.

    `failures` and `contradictions` are those of its block's verdict that are about it.
    """

    state: VerificationState
    failures: list[Finding]
    contradictions: list[Finding]


def block_verification(
    number: int, agreed_height: int, verdict: StoredVerdict | None
) -> BlockVerification:
    """Return what is known of a block; `verdict` is None if it is not verified."""
    state = verification_state(number, agreed_height, is_verified=verdict is not None)
    if verdict is None or not verdict.has_findings:
        return BlockVerification(state, None)
    return BlockVerification(
        state,
        Verdict(
            verdict.envelopes,
            verdict.checked,
            list(verdict.not_checked),
            list(verdict.failures),
            verdict.failure_count,
            list(verdict.contradictions),
            verdict.contradiction_count,
        ),
    )


def transaction_verification(
    state: VerificationState, index: int, verdict: StoredVerdict | None
) -> TransactionVerification:
    """Return what is known of the transaction at an index of its block."""
    failures = verdict.failures if verdict is not None else ()
    contradictions = verdict.contradictions if verdict is not None else ()
    return TransactionVerification(
        state,
        [finding for finding in failures if finding.index == index],
        [finding for finding in contradictions if finding.index == index],
    )


def verification_state(number: int, agreed_height: int, *, is_verified: bool) -> VerificationState:
    """Return the state of a block."""
    if is_verified:
        return "verified"
    return "agreed" if number < agreed_height else "stored"
