"""Compares a stored document with the one that the chain gives."""

from collections.abc import Iterable

import bson
from bson.raw_bson import RawBSONDocument

from ledger.errors import StoreConflictError


def compare_documents(name: str, expected: RawBSONDocument, stored: RawBSONDocument | None) -> None:
    """Raises `StoreConflictError` unless `stored` is what the chain says.

    A document that another version of this program wrote is compared by position, id, code and
    envelope hash only. Who signed a block is not compared: of a SmartBFT block each peer keeps
    another quorum of signatures.
    """
    if stored is None:
        raise StoreConflictError(
            name,
            expected["_id"],
            "txId",
            f"{expected.get('txId')!r} at this position",
            "the same id at another one",
        )
    if stored.raw == expected.raw:
        return
    want, have = bson.decode(expected.raw), bson.decode(stored.raw)
    fields: Iterable[str] = sorted((want.keys() | have.keys()) - {"signers"})
    if want["format"] != have.get("format"):
        fields = ("_id", "txId", "validationCode", "validationCodes", "envelopeHash", "blockHash")
    for field in fields:
        if want.get(field) != have.get(field):
            raise StoreConflictError(name, want["_id"], field, want.get(field), have.get(field))
