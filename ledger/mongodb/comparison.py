"""Compares a stored document with the document that the chain gives."""

from collections.abc import Iterable
from typing import Final

import bson
from bson.raw_bson import RawBSONDocument

from ledger.errors import StoreConflictError

_FIELDS_OF_ALL_FORMATS: Final = (
    *("_id", "txId", "validationCode", "validationCodes", "envelopeHash", "blockHash"),
)


def compare_documents(name: str, expected: RawBSONDocument, stored: RawBSONDocument | None) -> None:
    """Raise `StoreConflictError` unless the documents agree; `name` is the collection.

    `stored` is None if the id of the expected document is stored at another position. If the
    documents have different formats, only position, id, codes and hashes are compared. The signers
    of a block are not compared: each peer has the signatures of another quorum of SmartBFT's
    orderers.
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
    fields: Iterable[str] = sorted((chain.keys() | store.keys()) - {"signers"})
    if chain["format"] != store.get("format"):
        fields = _FIELDS_OF_ALL_FORMATS
    for field in fields:
        if chain.get(field) != store.get(field):
            raise StoreConflictError(name, chain["_id"], field, chain.get(field), store.get(field))
