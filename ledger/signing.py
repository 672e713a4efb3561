"""The MSP identities with which clients of Fabric sign: a certificate and its private key."""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from protos.msp_pb2 import SerializedIdentity

_ORDERS = {
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp384r1": int(
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"
        "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973",
        16,
    ),
}
"""The orders of the supported elliptic curves."""


class IdentityError(Exception):
    """An unusable certificate or key; the message names the file and says what to do."""


class SigningIdentity:
    """Signs with ECDSA over SHA-256.

    `creator` is the serialized identity that a client sends with its signatures.
    """

    def __init__(
        self, msp_id: str, certificate_pem: bytes, key: ec.EllipticCurvePrivateKey
    ) -> None:
        self.creator = SerializedIdentity(
            mspid=msp_id, id_bytes=certificate_pem
        ).SerializeToString()
        self._key = key
        self._order = _ORDERS[key.curve.name]

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message as DER with a low S.

        ECDSA has two valid signatures, of which Fabric accepts only the one with the low S.
        """
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(SHA256())))
        return encode_dss_signature(r, min(s, self._order - s))


def load_signing_identity(msp_id: str, certificate: Path, key: Path) -> SigningIdentity:
    """Return the identity with this PEM certificate and its private key.

    Each path may also be a folder that holds only this file, for example `signcerts` or `keystore`
    of an MSP folder. Raises `IdentityError` when a file cannot be read or used.
    """
    certificate_pem, key_pem = _read(certificate), _read(key)
    try:
        public = x509.load_pem_x509_certificate(certificate_pem).public_key()
    except ValueError as error:
        raise IdentityError(
            f"{certificate}: not a PEM certificate ({error}). Give the MSP's signing certificate."
        ) from error
    try:
        private = load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise IdentityError(
            f"{key}: not an unencrypted PEM private key. "
            f"Give the key that belongs to {certificate}."
        ) from error
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name not in _ORDERS:
        raise IdentityError(
            f"{key}: not an ECDSA key on P-256 or P-384, the curves that Fabric's MSPs accept."
        )
    if private.public_key() != public:
        raise IdentityError(
            f"{key} does not belong to {certificate}: give the key of that certificate."
        )
    return SigningIdentity(msp_id, certificate_pem, private)


def _read(path: Path) -> bytes:
    """Return the content of a file, or of the only file in a folder."""
    try:
        if path.is_dir():
            files = [entry for entry in path.iterdir() if entry.is_file()]
            if len(files) != 1:
                raise IdentityError(
                    f"{path}: holds {len(files)} files, so it is not clear which one is meant. "
                    "Name the file itself."
                )
            path = files[0]
        return path.read_bytes()
    except OSError as error:
        raise IdentityError(
            f"{path}: cannot be read: {error.strerror}. Check the path and its permissions."
        ) from error
