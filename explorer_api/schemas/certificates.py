"""The certificates that signed on a channel."""

from datetime import datetime
from ssl import DER_cert_to_PEM_cert
from typing import Final, Literal

from msgspec import Struct

from explorer_api.schemas.paging import PageInfo
from ledger.documents.format import Document
from ledger.position import unpack_position
from ledger.trust.acceptance import Acceptance

_ACCEPTED: Final = {Acceptance.ACCEPTED: True, Acceptance.REFUSED: False}


class TransactionPosition(Struct, frozen=True):
    """The block of a transaction, and its index in this block."""

    block: int
    index: int


class Certificate(Struct, frozen=True, rename="camel"):
    """A certificate that signed something.

    `fingerprint` is the SHA-256 of the certificate in DER, `subject` and `issuer` follow RFC 4514,
    and `serial_number` is in hexadecimal. `node_role` is what the certificate's organisational unit
    says; it is null if the organisation does not tell the roles apart.

    It signed first in block `first_block` and last in block `last_block`, as the creator of
    transactions, as their endorser, or as the orderer of blocks: see `roles`. `first_transaction`
    and `last_transaction` are null if it signed only blocks.

    `accepted` says whether the channel's configuration accepts it, and `refusal` why it does not;
    `accepted` is null if this cannot be decided. The configuration of block `judged_at` decided it,
    and no later one changed the definition of the organisation. A configuration also accepts a
    certificate that has expired: compare `not_after`.
    """

    fingerprint: str
    msp_id: str
    node_role: Literal["client", "peer", "admin", "orderer"] | None
    subject: str | None
    issuer: str | None
    serial_number: str
    not_before: datetime
    not_after: datetime
    roles: list[Literal["creator", "endorser", "orderer"]]
    first_block: int
    last_block: int
    first_transaction: TransactionPosition | None
    last_transaction: TransactionPosition | None
    accepted: bool | None
    refusal: str | None
    judged_at: int


class CertificateDetail(Certificate, frozen=True, rename="camel"):
    """A certificate that signed something, and the certificate itself as PEM text."""

    pem: str


class CertificatePage(Struct, frozen=True, rename="camel"):
    """A page of certificates: every signer of the verified blocks below `inventory_height`.

    It is null if the daemon has verified no signatures.
    """

    items: list[Certificate]
    page: PageInfo
    inventory_height: int | None


def certificate(document: Document) -> Certificate:
    """Return a stored certificate."""
    return Certificate(**_fields(document))


def certificate_detail(document: Document) -> CertificateDetail:
    """Return a stored certificate with its PEM text."""
    return CertificateDetail(**_fields(document), pem=DER_cert_to_PEM_cert(document["der"]))


def _fields(document: Document) -> Document:
    return {
        "fingerprint": document["_id"],
        "msp_id": document["mspId"],
        "node_role": document["nodeRole"],
        "subject": document["subject"],
        "issuer": document["issuer"],
        "serial_number": document["serialNumber"],
        "not_before": document["notBefore"],
        "not_after": document["notAfter"],
        "roles": sorted(document["roles"]),
        "first_block": document["firstBlock"],
        "last_block": document["lastBlock"],
        "first_transaction": _position(document.get("firstTransaction")),
        "last_transaction": _position(document.get("lastTransaction")),
        "accepted": _ACCEPTED.get(document["acceptance"]),
        "refusal": document["refusal"],
        "judged_at": document["judgedAt"],
    }


def _position(position: int | None) -> TransactionPosition | None:
    return TransactionPosition(*unpack_position(position)) if position is not None else None
