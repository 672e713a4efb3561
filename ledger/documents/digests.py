"""Digests of stored documents, by which a change of any document is found without a source.

The document of a block has the digests of its transactions' and its events' documents, and a
digest of itself, which depends on the digest of the block before. The digest of the head therefore
depends on every document of the ledger. Whoever wrote it down finds out about any later change,
even if it was made by someone who can write to the database and computes all digests again.

Each peer of a SmartBFT network may have the signatures of another quorum of orderers. The digest
of a block does not depend on its signers, so it is the same whichever peer delivered the block. The
signers have a digest of their own.
"""

from hashlib import sha256
from typing import Final

import bson
from bson.raw_bson import RawBSONDocument

NO_DIGEST: Final = b""
"""The digest before the first block that has one."""

_OUTSIDE: Final = frozenset({"signers", "signersDigest", "digest"})
"""The fields of a block's document on which its digest does not depend."""


def documents_digest(joined: bytes) -> str:
    """Return the digest of encoded documents that are one directly after the other, in hex."""
    return sha256(joined).hexdigest()


def block_digest(previous: bytes, content: bytes) -> bytes:
    """Return the digest of a block.

    `previous` is the digest of the block before, or `NO_DIGEST`. `content` is the encoded document
    of the block without the fields that depend on the digest.
    """
    return sha256(previous + content).digest()


def signers_digest(digest: bytes, signers: bytes) -> str:
    """Return the digest of the signers of the block with this digest, in hex.

    `signers` is an encoded document with the field `signers` only.
    """
    return sha256(digest + signers).hexdigest()


def stored_digests(stored: RawBSONDocument, previous: bytes) -> tuple[bytes, str]:
    """Return the digest of a stored block and the digest of its signers, computed again."""
    content = {name: value for name, value in stored.items() if name not in _OUTSIDE}
    digest = block_digest(previous, bson.encode(content))
    return digest, signers_digest(digest, bson.encode({"signers": stored.get("signers")}))
