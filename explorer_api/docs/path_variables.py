"""The variables in the paths of the routes."""

from typing import Any, Final

from msgspec import Struct

from ledger.ownership import MAX_TX_ID_BYTES
from ledger.position import MAX_BLOCK_NUMBER, MAX_INDEX


class PathVariable(Struct, frozen=True):
    """A variable: its allowed values, an example, and the problems that a wrong value causes.

    The example is on the ledger of the demo; one that begins with `$` stands for any value there.
    `problems` has kinds of `problem_kinds`.
    """

    allowed: str
    schema: dict[str, Any]
    example: str
    problems: tuple[str, ...]


_ANY_TEXT: Final = {"type": "string", "minLength": 1}

PATH_VARIABLES: Final = {
    "channel": PathVariable(
        "the name of a channel", _ANY_TEXT, "kindledger", ("channel-not-found",)
    ),
    "block": PathVariable(
        "the number of a block, its hash, or `latest`",
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": MAX_BLOCK_NUMBER},
                {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"},
                {"type": "string", "const": "latest"},
            ]
        },
        "latest",
        ("invalid-parameter", "block-not-found", "block-not-indexed-yet"),
    ),
    "index": PathVariable(
        "the index of a transaction in its block, from 0",
        {"type": "integer", "minimum": 0, "maximum": MAX_INDEX},
        "0",
        ("invalid-parameter", "transaction-not-found"),
    ),
    "txId": PathVariable(
        f"a transaction id: any text of 1 to {MAX_TX_ID_BYTES} bytes, percent-encoded",
        {**_ANY_TEXT, "maxLength": MAX_TX_ID_BYTES},
        "$TX",
        ("malformed-tx-id", "transaction-not-found"),
    ),
    "namespace": PathVariable(
        "the namespace of the key, which is the name of a chaincode",
        _ANY_TEXT,
        "_lifecycle",
        ("invalid-parameter",),
    ),
    "key": PathVariable(
        "a key: any text, percent-encoded (slashes too)",
        _ANY_TEXT,
        "namespaces%2Ffields%2Fkindledger%2FSequence",
        ("invalid-parameter",),
    ),
    "fingerprint": PathVariable(
        "the SHA-256 of a certificate in DER, in hexadecimal",
        {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"},
        "$CERTIFICATE",
        ("invalid-parameter", "certificate-not-found"),
    ),
    "name": PathVariable(
        "the name of a chaincode", _ANY_TEXT, "kindledger", ("chaincode-not-found",)
    ),
}
