"""Fabric's hashes: of a block's data, of a block's header, and the transaction id.

Sources: `BlockDataHash`, `BlockHeaderHash` (protoutil) and `ComputeTxID` in Fabric.
"""

from collections.abc import Iterable
from hashlib import sha256


def data_hash(envelopes: Iterable[bytes]) -> bytes:
    """Return the SHA-256 of a block's concatenated envelopes, the header's `data_hash`."""
    digest = sha256()
    for envelope in envelopes:
        digest.update(envelope)
    return digest.digest()


def header_bytes(number: int, previous_hash: bytes, data_hash: bytes) -> bytes:
    """Return a block's header as ASN.1 DER, over which orderers sign.

    The structure is SEQUENCE {INTEGER, OCTET STRING, OCTET STRING}.
    """
    body = (
        _der(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))
        + _der(0x04, previous_hash)
        + _der(0x04, data_hash)
    )
    return _der(0x30, body)


def block_hash(number: int, previous_hash: bytes, data_hash: bytes) -> bytes:
    """Return the hash of a block: the SHA-256 of its header's DER.

    The next block has it as its `previous_hash`.
    """
    return sha256(header_bytes(number, previous_hash, data_hash)).digest()


def transaction_id(nonce: bytes, creator: bytes) -> str:
    """Return the id of an ordinary transaction in lower-case hex."""
    return sha256(nonce + creator).hexdigest()


def _der(tag: int, content: bytes) -> bytes:
    """Return the DER encoding of a value with this tag and content."""
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content
