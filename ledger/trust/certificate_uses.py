"""The certificates that signed something in a block: whose they are, and what they signed."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256

from cryptography import x509
from msgspec import Struct

from ledger.trust.limits import MAX_CACHED_IDENTITIES
from ledger.trust.verdicts import EnvelopeVerdict, Member
from protos.transaction_pb2 import DUPLICATE_TXID


class SignerRole(StrEnum):
    """In which role a certificate signed."""

    CREATOR = "creator"
    ENDORSER = "endorser"
    ORDERER = "orderer"


class CertificateFacts(Struct, frozen=True, rename="camel"):
    """What a certificate says.

    `fingerprint`: the SHA-256 of the DER in hex. `subject` and `issuer` follow RFC 4514; they are
    None if they cannot be written so. `serial_number`: in hex.
    """

    fingerprint: str
    subject: str | None
    issuer: str | None
    serial_number: str
    not_before: datetime
    not_after: datetime


class CertificateUse(Struct, frozen=True):
    """A member that signed in a block.

    `indexes`: the first and the last transaction that it created or endorsed, None if it signed
    only the block.
    """

    member: Member
    facts: CertificateFacts
    roles: frozenset[SignerRole]
    indexes: tuple[int, int] | None


def uses_in_block(
    verdicts: Sequence[EnvelopeVerdict], codes: bytes, orderers: Iterable[Member]
) -> tuple[CertificateUse, ...]:
    """Return who signed in a block whose envelopes have these verdicts and codes.

    `orderers` are the valid members that signed the block. An envelope that repeats the id of
    another one counts for nobody, because anybody can submit a copy of an envelope.
    """
    found: dict[Member, _Use] = {}
    for index, (verdict, code) in enumerate(zip(verdicts, codes, strict=True)):
        if verdict.signer is not None and code != DUPLICATE_TXID:
            found.setdefault(verdict.signer, _Use()).add(SignerRole.CREATOR, index)
            for endorser in verdict.endorsers:
                found.setdefault(endorser, _Use()).add(SignerRole.ENDORSER, index)
    for orderer in orderers:
        found.setdefault(orderer, _Use()).roles.add(SignerRole.ORDERER)
    return tuple(
        CertificateUse(member, read_facts(member.der), frozenset(use.roles), use.indexes)
        for member, use in found.items()
    )


class _Use:
    """The roles of a certificate in a block, and the first and the last of its transactions."""

    def __init__(self) -> None:
        self.roles: set[SignerRole] = set()
        self.indexes: tuple[int, int] | None = None

    def add(self, role: SignerRole, index: int) -> None:
        """Add a transaction; the indexes ascend."""
        self.roles.add(role)
        self.indexes = (self.indexes[0] if self.indexes is not None else index, index)


@lru_cache(MAX_CACHED_IDENTITIES)
def read_facts(der: bytes) -> CertificateFacts:
    """Return what the certificate of a member says."""
    certificate = x509.load_der_x509_certificate(der)
    return CertificateFacts(
        fingerprint=sha256(der).hexdigest(),
        subject=_name(certificate.subject),
        issuer=_name(certificate.issuer),
        serial_number=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _name(name: x509.Name) -> str | None:
    try:
        return name.rfc4514_string()
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - an authority writes it, and the errors are of several types
        return None
