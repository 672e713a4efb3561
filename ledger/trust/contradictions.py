"""Compares the validation code that a peer gave an envelope with what the verification found."""

from ledger.trust.verdicts import Check, EnvelopeVerdict, Result
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


def contradiction(code: int, verdict: EnvelopeVerdict) -> str | None:
    """Return how a verdict contradicts a peer's validation code, or None.

    A peer stops at the first failure: the creator, the id and proposal, a repeated id, the
    endorsement policy, then the versions of what was read. So a code also says what was right
    before. What was not checked contradicts nothing.
    """
    name = f"code {code}"
    if code == BAD_CREATOR_SIGNATURE:
        return _unexpected(name, "the creator's signature", verdict.creator)
    if code in (BAD_PROPOSAL_TXID, INVALID_ENDORSER_TRANSACTION):
        return _failed(name, verdict.creator) or _unexpected(
            name, "the id and the proposal", verdict.transaction
        )
    if code == ENDORSEMENT_POLICY_FAILURE:
        return _failed(name, verdict.creator, verdict.transaction) or _unexpected(
            name, "the endorsement", verdict.endorsement
        )
    if code == DUPLICATE_TXID:
        return _failed(name, verdict.creator, verdict.transaction)
    if code in _PASSED_ALL:
        return _failed(name, verdict.creator, verdict.transaction, verdict.endorsement)
    return None


def _failed(name: str, *checks: Check) -> str | None:
    """Return the failure of a check that must have passed."""
    for check in checks:
        if check.result is Result.INVALID:
            return f"{name}, but {check.reason}"
    return None


def _unexpected(name: str, what: str, check: Check) -> str | None:
    """Return the success of a check that must have failed."""
    return f"{name}, but {what} is valid" if check.result is Result.VALID else None
