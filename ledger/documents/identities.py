"""The stored form of identities: of creators, endorsers and signers of blocks."""

from ledger.documents.format import Document
from ledger.model import Identity, Signer


def signer_document(signer: Signer) -> Document:
    """Return the stored form of a block's signer: an identity, or a consenter id with SmartBFT."""
    if signer.identity is None:
        return {"consenterId": signer.consenter_id}
    return identity_document(signer.identity)


def identity_document(identity: Identity) -> Document:
    """Return the stored form of an identity."""
    document = {
        "mspId": identity.msp_id,
        "subject": identity.subject,
        "fingerprint": identity.fingerprint,
    }
    if identity.kind != "x509":
        document["kind"] = identity.kind
        document["digest"] = identity.digest
    return document
