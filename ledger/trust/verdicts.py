"""The answers of the verification: what was checked, what failed, and who signed."""

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct


class Result(StrEnum):
    """The result of a check; `not_checked` is neither a yes nor a no."""

    VALID = "valid"
    INVALID = "invalid"
    NOT_CHECKED = "not_checked"


class CheckName(StrEnum):
    """The checks of an envelope, in the order in which a peer makes them."""

    CREATOR = "creator"
    TRANSACTION = "transaction"
    ENDORSEMENT = "endorsement"


class Check(Struct, frozen=True):
    """The result of one check; `reason` says in words why it is not valid, else it is empty."""

    result: Result
    reason: str = ""


VALID = Check(Result.VALID)


def invalid(reason: str) -> Check:
    """Return the check that failed for this reason."""
    return Check(Result.INVALID, reason)


def not_checked(reason: str) -> Check:
    """Return the check that could not be made for this reason."""
    return Check(Result.NOT_CHECKED, reason)


def combine(*checks: Check) -> Check:
    """Return the first invalid check, else the first that was not made, else a valid one."""
    for result in (Result.INVALID, Result.NOT_CHECKED):
        for check in checks:
            if check.result is result:
                return check
    return VALID


class Member(NamedTuple):
    """A certificate that its MSP accepts.

    `der`: the certificate. `node_role`: client, peer, admin or orderer, by the certificate's
    organisational unit; None if the MSP does not tell them apart.
    """

    msp_id: str
    der: bytes
    node_role: str | None


class BlockVerdict(Struct, frozen=True):
    """Whether the signatures of a block satisfy the channel's policy for blocks.

    `organisations`: the MSP ids of the valid signers, sorted and distinct. `signers`: the number of
    valid signatures of distinct identities. `last_config`: the number of the newest CONFIG block
    that the signers name, or None if they name none; a CONFIG block names itself. `members`: the
    valid signers.
    """

    result: Result
    reason: str
    organisations: tuple[str, ...] = ()
    signers: int = 0
    last_config: int | None = None
    members: tuple[Member, ...] = ()


class EnvelopeVerdict(Struct, frozen=True):
    """Whether the signatures of an envelope are those that its channel demands.

    `result` and `reason` combine the checks. `creator`: the creator's identity and signature.
    `transaction`: the id and the proposal, to which the signatures are bound. `endorsement`: the
    endorsers' identities and signatures against the policies. `organisations`: the MSP ids of the
    valid endorsers, sorted and distinct. `expired`: the MSP ids of signers whose certificate was
    not valid at the time that the caller gave; peers do not look at this, so that it does not
    change the result. `signer` and `endorsers`: the creator and the endorsers that are valid
    members and signed. Both are empty unless the creator signed, and the transaction is bound to
    the signatures: anybody can copy endorsements into another envelope.
    """

    result: Result
    reason: str
    creator: Check
    transaction: Check
    endorsement: Check
    organisations: tuple[str, ...] = ()
    expired: tuple[str, ...] = ()
    signer: Member | None = None
    endorsers: tuple[Member, ...] = ()

    def check(self, name: CheckName) -> Check:
        """Return the check with this name."""
        match name:
            case CheckName.CREATOR:
                return self.creator
            case CheckName.TRANSACTION:
                return self.transaction
            case CheckName.ENDORSEMENT:
                return self.endorsement


class RefusedError(Exception):
    """Something is invalid; the message says what, in words for a reader of a verdict."""


class UncheckedError(Exception):
    """Something cannot be checked here; the message says what, in words for a reader."""
