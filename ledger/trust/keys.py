"""Verifies signatures as Fabric's cryptographic provider does: ECDSA with a low S, and Ed25519."""

from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

Verify = Callable[[bytes, bytes], bool]
"""Returns whether the second argument is the key's signature of the first."""

_ORDERS = {
    "secp224r1": int("ffffffffffffffffffffffffffff16a2e0b8f03e13dd29455c5c2a3d", 16),
    "secp256r1": int("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16),
    "secp384r1": int(
        "ffffffffffffffffffffffffffffffffffffffffffffffff"
        "c7634d81f4372ddf581a0db248b0a77aecec196accc52973",
        16,
    ),
    "secp521r1": int(
        "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
        "a51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
        16,
    ),
}
"""The orders of the curves that Fabric accepts; the same as Go's standard library has."""

_HASHES: dict[str, hashes.HashAlgorithm] = {"SHA2": hashes.SHA256(), "SHA3": hashes.SHA3_256()}
"""The hash of each family that an MSP can name, at any size of the key."""


def order_of(key: object) -> int | None:
    """Return the order of the curve of an ECDSA key, or None if Fabric does not know the key."""
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return None
    return _ORDERS.get(key.curve.name)


def verification(key: object, hash_family: str) -> Verify | None:
    """Return the function that verifies signatures of a key, or None if the key has none.

    `hash_family` is SHA2 or SHA3, by the crypto configuration of the MSP. Ed25519 needs no hash.
    """
    if isinstance(key, ed25519.Ed25519PublicKey):
        return _ed25519(key)
    order, algorithm = order_of(key), _HASHES.get(hash_family)
    if not isinstance(key, ec.EllipticCurvePublicKey) or order is None or algorithm is None:
        return None
    return _ecdsa(key, order // 2, ec.ECDSA(algorithm))


def read_signature(signature: bytes) -> tuple[int, int]:
    """Return r and s of an ECDSA signature.

    Fabric reads it with Go's ASN.1 library, which ignores what follows s and what follows the
    sequence. Raises ValueError when there is no such signature.
    """
    try:
        return decode_dss_signature(signature)
    except ValueError:
        return decode_dss_signature(_without_rest(signature))


def _ecdsa(key: ec.EllipticCurvePublicKey, half: int, algorithm: ec.ECDSA) -> Verify:
    def verify(message: bytes, signature: bytes) -> bool:
        try:
            try:
                r, s = decode_dss_signature(signature)
            except ValueError:
                signature = _without_rest(signature)
                r, s = decode_dss_signature(signature)
            if r <= 0 or not 0 < s <= half:
                return False
            key.verify(signature, message, algorithm)
        except (InvalidSignature, ValueError):
            return False
        return True

    return verify


def _ed25519(key: ed25519.Ed25519PublicKey) -> Verify:
    def verify(message: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return verify


def _without_rest(signature: bytes) -> bytes:
    """Return the sequence of the first two integers in a longer sequence.

    Only lengths below 128 occur: r and s of the longest curve need 2 * 68 bytes, in the long form.
    """
    header = 3 if signature[1:2] == b"\x81" else 2
    if len(signature) < header or signature[0] != 0x30:
        raise ValueError("no ASN.1 sequence")
    size = signature[header - 1]
    body = signature[header : header + size]
    if len(body) != size or (header == 3) != (size > 0x7F):
        raise ValueError("a wrong length")
    end = 0
    for _ in range(2):
        if len(body) < end + 2 or body[end] != 0x02 or body[end + 1] > 0x7F:
            raise ValueError("no ASN.1 integer")
        end += 2 + body[end + 1]
    if end > len(body):
        raise ValueError("a wrong length")
    return (b"\x30" if end <= 0x7F else b"\x30\x81") + bytes((end,)) + body[:end]
