"""Decides whether a channel's configuration still accepts a certificate that it accepted once."""

from enum import StrEnum
from ssl import DER_cert_to_PEM_cert

from msgspec import Struct

from ledger.trust.channel_trust import ChannelTrust
from ledger.trust.signers import find_certificate
from ledger.trust.verdicts import Member, RefusedError, UncheckedError


class Acceptance(StrEnum):
    """Whether a configuration accepts a certificate; `unknown` is neither a yes nor a no."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Judgement(Struct, frozen=True):
    """Whether a configuration accepts a certificate, and in words why it does not."""

    acceptance: Acceptance
    refusal: str | None = None


def judge(trust: ChannelTrust | str, member: Member) -> Judgement:
    """Return whether a configuration accepts a certificate; a text says why it is not known.

    As in Fabric, the time is of no account: that a certificate has expired is no reason.
    """
    if isinstance(trust, str):
        return Judgement(Acceptance.UNKNOWN, trust)
    try:
        pem = DER_cert_to_PEM_cert(member.der).encode()
        refusal = find_certificate(trust.msps, member.msp_id, pem).identity.refusal
    except RefusedError as error:
        refusal = str(error)
    except UncheckedError as error:
        return Judgement(Acceptance.UNKNOWN, str(error))
    if refusal is not None:
        return Judgement(Acceptance.REFUSED, refusal)
    return Judgement(Acceptance.ACCEPTED)


def changed_msps(before: ChannelTrust | str, after: ChannelTrust | str) -> tuple[str, ...]:
    """Return the ids of the MSPs that two configurations define differently, sorted."""
    old = {} if isinstance(before, str) else before.msps
    new = {} if isinstance(after, str) else after.msps
    return tuple(sorted(name for name in {*old, *new} if old.get(name) != new.get(name)))
