"""Compares the validation code that a peer gave an envelope with what the verification found."""

from msgspec import Struct

from ledger.trust.verdicts import CheckName, EnvelopeVerdict, Result
from protos.transaction_pb2 import (
    BAD_CREATOR_SIGNATURE,
    BAD_PROPOSAL_TXID,
    DUPLICATE_TXID,
    ENDORSEMENT_POLICY_FAILURE,
    INVALID_ENDORSER_TRANSACTION,
    MVCC_READ_CONFLICT,
    PHANTOM_READ_CONFLICT,
    VALID,
)

_PASSED_ALL = {VALID, MVCC_READ_CONFLICT, PHANTOM_READ_CONFLICT}
"""The codes of envelopes that passed all checks of signatures."""


class Contradiction(Struct, frozen=True):
    """How a verdict contradicts a validation code: by which check, and in words."""

    check: CheckName
    reason: str


def contradiction(code: int, verdict: EnvelopeVerdict) -> Contradiction | None:
    """Return how a verdict contradicts a peer's validation code, or None.

    A peer stops at the first failure: the creator, the id and proposal, a repeated id, the
    endorsement policy, then the versions of what was read. So a code also says what was right
    before. What was not checked contradicts nothing.
    """
    creator, transaction, endorsement = CheckName
    if code == BAD_CREATOR_SIGNATURE:
        return _unexpected(code, creator, "the creator's signature", verdict)
    if code in (BAD_PROPOSAL_TXID, INVALID_ENDORSER_TRANSACTION):
        return _failed(code, verdict, creator) or _unexpected(
            code, transaction, "the id and the proposal", verdict
        )
    if code == ENDORSEMENT_POLICY_FAILURE:
        return _failed(code, verdict, creator, transaction) or _unexpected(
            code, endorsement, "the endorsement", verdict
        )
    if code == DUPLICATE_TXID:
        return _failed(code, verdict, creator, transaction)
    if code in _PASSED_ALL:
        return _failed(code, verdict, creator, transaction, endorsement)
    return None


def _failed(code: int, verdict: EnvelopeVerdict, *names: CheckName) -> Contradiction | None:
    """Return the failure of a check that must have passed."""
    for name in names:
        check = verdict.check(name)
        if check.result is Result.INVALID:
            return Contradiction(name, f"code {code}, but {check.reason}")
    return None


def _unexpected(
    code: int, name: CheckName, what: str, verdict: EnvelopeVerdict
) -> Contradiction | None:
    """Return the success of a check that must have failed."""
    if verdict.check(name).result is not Result.VALID:
        return None
    return Contradiction(name, f"code {code}, but {what} is valid")
