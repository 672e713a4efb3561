"""MSP identities: who created an envelope, endorsed a proposal or signed a block."""

import warnings
from functools import lru_cache
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.utils import CryptographyDeprecationWarning
from google.protobuf.message import DecodeError

from ledger.model import Identity
from protos.msp_pb2 import SerializedIdemixIdentity, SerializedIdentity

_CACHED_BYTES = 8192  # certificates are about 800 bytes; larger identities are read anew each time
_CACHED_COUNT = 4096


def decode_identity(serialized: bytes) -> Identity | None:
    """Reads a `msp.SerializedIdentity`; None if the bytes are none.

    The same few identities recur in every transaction, so readings are kept.
    """
    if len(serialized) > _CACHED_BYTES:
        return _read(serialized)
    return _read_cached(serialized)


def decode_certificate(msp_id: str, pem: bytes) -> Identity:
    """The identity that a PEM certificate stands for: kind `unknown` if it is none that X.509 can read."""
    try:
        with warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning):
            certificate = x509.load_pem_x509_certificate(pem)
        return Identity(
            msp_id=msp_id,
            kind="x509",
            subject=certificate.subject.rfc4514_string(),
            fingerprint=certificate.fingerprint(SHA256()).hex(),
        )
    except (ValueError, x509.InvalidVersion):
        return Identity(msp_id=msp_id, kind="unknown", digest=sha256(pem).hexdigest())


def _read(serialized: bytes) -> Identity | None:
    try:
        identity = SerializedIdentity.FromString(serialized)
    except DecodeError:
        return None
    if b"-----BEGIN" not in identity.id_bytes and _is_idemix(identity.id_bytes):
        return Identity(
            msp_id=identity.mspid, kind="idemix", digest=sha256(identity.id_bytes).hexdigest()
        )
    return decode_certificate(identity.mspid, identity.id_bytes)


_read_cached = lru_cache(_CACHED_COUNT)(_read)


def _is_idemix(id_bytes: bytes) -> bool:
    try:
        identity = SerializedIdemixIdentity.FromString(id_bytes)
    except DecodeError:
        return False
    return bool(identity.nym_x and identity.nym_y)
