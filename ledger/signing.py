"""An MSP identity that can sign, as clients of Fabric have one."""

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
    "secp384r1": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
}


class IdentityError(Exception):
    """Certificate or key of an identity cannot be used; the message names the file and what to do."""


class SigningIdentity:
    """Signs with ECDSA over SHA-256; `creator` is the serialized identity that goes with the signatures."""

    def __init__(
        self, msp_id: str, certificate_pem: bytes, key: ec.EllipticCurvePrivateKey
    ) -> None:
        self.creator = SerializedIdentity(
            mspid=msp_id, id_bytes=certificate_pem
        ).SerializeToString()
        self._key = key
        self._order = _ORDERS[key.curve.name]

    def sign(self, message: bytes) -> bytes:
        """A DER signature with low S: Fabric refuses the other, equally valid one."""
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(SHA256())))
        return encode_dss_signature(r, min(s, self._order - s))


def load_signing_identity(msp_id: str, certificate: Path, key: Path) -> SigningIdentity:
    """Reads a PEM certificate and its private key.

    Each may be given as the folder that holds it alone, such as an MSP folder's `signcerts` and `keystore`. Raises
    `IdentityError`.
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
            f"{key}: not an unencrypted PEM private key. Give the one that belongs to {certificate}."
        ) from error
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name not in _ORDERS:
        raise IdentityError(
            f"{key}: not an ECDSA key on P-256 or P-384, the ones that Fabric's MSPs take."
        )
    if private.public_key() != public:
        raise IdentityError(
            f"{key} does not belong to {certificate}: give the key of that certificate."
        )
    return SigningIdentity(msp_id, certificate_pem, private)


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            files = [entry for entry in path.iterdir() if entry.is_file()]
            if len(files) != 1:
                raise IdentityError(
                    f"{path}: holds {len(files)} files, so which one is meant? Name the file itself."
                )
            path = files[0]
        return path.read_bytes()
    except OSError as error:
        raise IdentityError(
            f"{path}: cannot be read: {error.strerror}. Check the path and its permissions."
        ) from error
