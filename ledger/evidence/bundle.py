"""The file format of bundles: JSON with a fixed layout, so that equal content has equal bytes."""

import json
from base64 import b64decode, b64encode
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from ledger.evidence.contents import Contents
from ledger.evidence.examination import Examined
from ledger.evidence.statement import Statement
from ledger.position import MAX_INDEX
from ledger.trust.verdicts import RefusedError

FORMAT: Final = "kindledger-evidence"
VERSION: Final = 1

MAX_BUNDLE_BYTES: Final = 256 << 20
"""The most bytes of a bundle. A block has at most 99 MB in Fabric, and base64 adds a third."""

_MAX_REASON_CHARACTERS: Final = 300

CHECKS: Final = (
    "The file has the layout of this version and nothing else.",
    (
        "The first block of configBlocks (or else block) has the header hash that the verifier "
        "trusts: the SHA-256 of the DER of its number, previous hash and data hash."
    ),
    "The data hash of each block is the SHA-256 of its concatenated envelopes.",
    (
        "Each further CONFIG block is of the same channel, and its configuration has the next "
        "sequence. Its signers name its own number as the last configuration, and their signatures "
        "satisfy the policy /Channel/Orderer/BlockValidation of the CONFIG block before it."
    ),
    "The block is signed in the same way under the last CONFIG block, which its signers name.",
    (
        "The envelope at the index is of the channel. Its creator and each endorser signed, and is "
        "a valid member of its organisation by the configuration in force below the block."
    ),
    (
        "The transaction id is the SHA-256 of nonce and creator, and the endorsers signed the "
        "proposal that the envelope has."
    ),
    "The statement is what the block and the envelope say.",
    (
        "If previousCommitHash is given, the commit hash in the block follows from the validation "
        "codes, from the writes of the VALID transactions of the block, and from "
        "previousCommitHash."
    ),
    "The commit hash is the one that the verifier got from a peer, if the verifier has one.",
)
"""What a verifier checks, in order; every bundle has these texts, for people."""


class _File(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The JSON of a bundle; whether each value is right is decided afterwards."""

    format: Literal["kindledger-evidence"]
    version: Literal[1]
    channel: str
    statement: Statement
    config_blocks: tuple[str, ...]
    block: str
    previous_commit_hash: str | None
    earlier_values: tuple[tuple[str, str, str, str | None], ...]
    checks: tuple[str, ...]


class _Pointer(Struct, frozen=True):
    """The part of a statement that says which envelope it is about."""

    index: Annotated[int, Meta(ge=0, le=MAX_INDEX)]


def encode_bundle(contents: Contents, examined: Examined) -> bytes:
    """Return the bytes of a bundle. Raises `RefusedError` if they are more than the limit."""
    previous = contents.previous_commit_hash
    bundle = {
        "format": FORMAT,
        "version": VERSION,
        "channel": examined.channel,
        "statement": examined.statement,
        "configBlocks": [_base64(each) for each in contents.config_blocks],
        "block": _base64(contents.block),
        "previousCommitHash": previous.hex() if previous is not None else None,
        "earlierValues": [
            [namespace, collection, _base64(key), _base64(value) if value is not None else None]
            for (namespace, collection, key), value in sorted(contents.earlier_values.items())
        ],
        "checks": CHECKS,
    }
    encoded = f"{json.dumps(bundle, indent=1)}\n".encode("ascii")
    if len(encoded) > MAX_BUNDLE_BYTES:
        raise RefusedError(
            f"its bundle would have {len(encoded)} bytes, more than {MAX_BUNDLE_BYTES}"
        )
    return encoded


def read_bundle(data: bytes) -> tuple[Contents, Statement]:
    """Return the content of a bundle, and the statement that it claims.

    Raises `RefusedError` for bytes that are no bundle. Whether their layout is that of the format
    is for the caller to check: it encodes the content again.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise RefusedError(f"it has {len(data)} bytes, more than {MAX_BUNDLE_BYTES}")
    try:
        file = msgspec.convert(json.loads(data.decode("ascii")), _File)
        index = msgspec.convert(file.statement, _Pointer).index
        previous = file.previous_commit_hash
        contents = Contents(
            config_blocks=tuple(_bytes(each) for each in file.config_blocks),
            block=_bytes(file.block),
            index=index,
            previous_commit_hash=bytes.fromhex(previous) if previous is not None else None,
            earlier_values={
                (namespace, collection, _bytes(key)): _bytes(value) if value is not None else None
                for namespace, collection, key, value in file.earlier_values
            },
        )
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        reason = str(error)[:_MAX_REASON_CHARACTERS]
        raise RefusedError(f"it is no bundle of version {VERSION}: {reason}") from None
    return contents, file.statement


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return b64decode(text, validate=True)
