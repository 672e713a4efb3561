"""Fabric's hashes: of a block's data, of a block's header, and the transaction id.

Sources: `BlockDataHash`, `BlockHeaderHash` (protoutil) and `ComputeTxID` in Fabric.
"""

from collections.abc import Iterable
from hashlib import sha256


def data_hash(envelopes: Iterable[bytes]) -> bytes:
    """SHA-256 over the concatenated envelopes of a block: what the header's `data_hash` must be."""
    digest = sha256()
    for envelope in envelopes:
        digest.update(envelope)
    return digest.digest()


def header_bytes(number: int, previous_hash: bytes, data_hash: bytes) -> bytes:
    """The header as ASN.1 DER: SEQUENCE {INTEGER, OCTET STRING, OCTET STRING}; orderers sign over it."""
    body = (
        _der(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))
        + _der(0x04, previous_hash)
        + _der(0x04, data_hash)
    )
    return _der(0x30, body)


def block_hash(number: int, previous_hash: bytes, data_hash: bytes) -> bytes:
    """SHA-256 over the header's DER: what the next block's `previous_hash` must be."""
    return sha256(header_bytes(number, previous_hash, data_hash)).digest()


def transaction_id(nonce: bytes, creator: bytes) -> str:
    """The id of an ordinary transaction, lower-case hex."""
    return sha256(nonce + creator).hexdigest()


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content
