"""Identities and certificates, read independently of the code under test."""

from base64 import b64decode
from hashlib import sha256

from cryptography import x509
from cryptography.x509.oid import NameOID

from ledger.model import Identity
from tests.ledger.wire_format import Message

_RFC4514 = {
    NameOID.COMMON_NAME: "CN",
    NameOID.COUNTRY_NAME: "C",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.LOCALITY_NAME: "L",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
}


def expected_identity(serialized: bytes) -> Identity:
    """Return the identity in a serialized `SerializedIdentity`."""
    identity = Message(serialized)
    return identity_of_certificate(identity.text(1), identity.data(2))


def identity_of_certificate(msp_id: str, pem: bytes) -> Identity:
    """Return the identity of a PEM certificate."""
    names = reversed(list(x509.load_pem_x509_certificate(pem).subject))
    return Identity(
        msp_id=msp_id,
        kind="x509",
        subject=",".join(f"{_RFC4514[name.oid]}={name.value!s}" for name in names),
        fingerprint=fingerprint(pem),
    )


def fingerprint(pem: bytes) -> str:
    """Return the SHA-256 of a PEM certificate's DER in hex."""
    body = "".join(line for line in pem.decode().splitlines() if not line.startswith("-----"))
    return sha256(b64decode(body)).hexdigest()


def decode_base64(text: str | None) -> bytes:
    """Return the bytes in a base64 text of the JSON; None stands for no bytes."""
    return b64decode(text or "")
