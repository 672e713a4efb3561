"""Compares a private value with the hash of it that a transaction wrote."""

from hashlib import sha256
from typing import Any

from ledger.evidence.statement import Statement, shown
from ledger.model import VALID


def private_value_fault(
    statement: Statement, collection: str, key: bytes, value: bytes, namespace: str | None = None
) -> str | None:
    """Return None if a transaction wrote this value of a key of a collection, else why it did not.

    `statement` is that of a verified bundle. The ledger has the SHA-256 of key and value only.
    `namespace` is needed if several namespaces have a collection of this name.
    """
    if statement["code"] != VALID:
        return f"the transaction is {statement['status']}, so that it wrote nothing"
    written = [each for each in statement["writes"] if each["collection"] == collection]
    namespaces = sorted({each["namespace"] for each in written})
    if namespace is None and len(namespaces) > 1:
        return f"several namespaces have this collection, name one of them: {namespaces}"
    hashed = shown(sha256(key).digest())
    writes: list[dict[str, Any]] = [
        each for each in written if namespace in (None, each["namespace"]) and each["key"] == hashed
    ]
    if not writes:
        return "the transaction does not write this key of the collection"
    found = writes[-1]["value"]
    if found is None or found is True:
        return "the transaction deletes the key, or writes only its metadata"
    is_same = found == shown(sha256(value).digest())
    return None if is_same else "the transaction writes another value: its hash differs"
