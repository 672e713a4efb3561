"""Compares a stored document with the document that the chain gives."""

from typing import Final

import bson
from bson.raw_bson import RawBSONDocument

from ledger.documents.format import FORMATS_WITHOUT_DIGESTS
from ledger.errors import StoreConflictError

_SIGNERS: Final = frozenset({"signers", "signersDigest"})
_DIGESTS: Final = frozenset({"digest", "transactionsDigest", "eventsDigest"})
"""The fields that documents of an older format do not have."""


def compare_documents(name: str, expected: RawBSONDocument, stored: RawBSONDocument | None) -> None:
    """Raise `StoreConflictError` unless the documents agree; `name` is the collection.

    `stored` is None if the id of the expected document is stored at another position. Of a document
    of an older format that this program knows, all fields that the format has are compared. The
    signers of a block are not compared: each peer has the signatures of another quorum of
    SmartBFT's orderers.
    """
    if stored is None:
        raise StoreConflictError(
            name,
            expected["_id"],
            "txId",
            f"{expected.get('txId')!r} at this position",
            "the same id at another position",
        )
    if stored.raw == expected.raw:
        return
    chain, store = bson.decode(expected.raw), bson.decode(stored.raw)
    older = store.get("format") in FORMATS_WITHOUT_DIGESTS and not _DIGESTS & store.keys()
    ignored = _SIGNERS | _DIGESTS | {"format"} if older else _SIGNERS
    for field in sorted((chain.keys() | store.keys()) - ignored):
        if chain.get(field) != store.get(field):
            raise StoreConflictError(name, chain["_id"], field, chain.get(field), store.get(field))
