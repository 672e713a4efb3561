"""Decodes MSP identities: of the creators of envelopes, of endorsers, and of signers of blocks."""

import warnings
from functools import lru_cache
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from google.protobuf.message import DecodeError

from ledger.model import Identity
from protos.msp_pb2 import SerializedIdemixIdentity, SerializedIdentity

_MAX_CACHED_BYTES = 8192  # an identity with a certificate has about 800 bytes
_CACHED_COUNT = 4096


def decode_identity(serialized: bytes) -> Identity | None:
    """Return the identity in a `msp.SerializedIdentity`, or None if the bytes are no such message.

    The same few identities occur in all transactions, therefore decoded identities are cached.
    """
    if len(serialized) > _MAX_CACHED_BYTES:
        return _decode(serialized)
    return _decode_cached(serialized)


def decode_certificate(msp_id: str, pem: bytes) -> Identity:
    """Return the identity of a PEM certificate.

    Its kind is `unknown` if the bytes are no X.509 certificate, or if its subject cannot be read.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            certificate = x509.load_pem_x509_certificate(pem)
            return Identity(
                msp_id=msp_id,
                kind="x509",
                subject=certificate.subject.rfc4514_string(),
                fingerprint=certificate.fingerprint(SHA256()).hex(),
            )
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - anyone can write it, and the errors are of several types
        return Identity(msp_id=msp_id, kind="unknown", digest=sha256(pem).hexdigest())


def _decode(serialized: bytes) -> Identity | None:
    try:
        identity = SerializedIdentity.FromString(serialized)
    except DecodeError:
        return None
    if b"-----BEGIN" not in identity.id_bytes and _is_idemix(identity.id_bytes):
        return Identity(
            msp_id=identity.mspid, kind="idemix", digest=sha256(identity.id_bytes).hexdigest()
        )
    return decode_certificate(identity.mspid, identity.id_bytes)


_decode_cached = lru_cache(_CACHED_COUNT)(_decode)


def _is_idemix(id_bytes: bytes) -> bool:
    try:
        identity = SerializedIdemixIdentity.FromString(id_bytes)
    except DecodeError:
        return False
    return bool(identity.nym_x and identity.nym_y)
