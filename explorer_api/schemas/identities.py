"""Identities: who created, endorsed or signed something."""

from msgspec import Struct

from explorer_api.schemas.stored_values import Text, read_optional_text, read_text
from ledger.documents.format import Document


class Identity(Struct, frozen=True, rename="camel"):
    """The identity of a creator, an endorser or a signer.

    `kind` is `x509`, `idemix` or `unknown`. Only an `x509` identity has a `subject` and a
    `fingerprint`, the SHA-256 of the certificate in DER. The other kinds have a `digest`, the
    SHA-256 of the identity's bytes.
    """

    msp_id: Text
    kind: str
    subject: Text | None
    fingerprint: str | None
    digest: str | None


def read_identity(stored: Document) -> Identity:
    """Return a stored identity."""
    return Identity(
        msp_id=read_text(stored["mspId"]),
        kind=stored.get("kind", "x509"),
        subject=read_optional_text(stored["subject"]),
        fingerprint=stored["fingerprint"],
        digest=stored.get("digest"),
    )
