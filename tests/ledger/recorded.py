"""Two ledgers recorded from real Fabric networks, and the output of Fabric's tools for them."""

import json
import tarfile
from functools import cache
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from ledger.decoding.blocks import decode_block, read_block
from ledger.documents.digests import NO_DIGEST
from ledger.documents.encoding import EncodedBlock, encode_block
from ledger.model import Block
from ledger.ownership import decide_owners, ids_to_look_up

Name = Literal["raft-2.5", "bft-3.1"]
NAMES: tuple[Name, ...] = ("raft-2.5", "bft-3.1")

_ROOT = Path(__file__).parent.parent.parent
_FIXTURES = _ROOT / "tests" / "fixtures" / "ledgers"
_SHIPPED = _ROOT / "devnet" / "recorded"
"""The recordings that the demo indexes as well."""
_RANGES: dict[Name, str] = {"raft-2.5": "000000-000135", "bft-3.1": "000000-000013"}

Json = dict[str, Any]


class Recorded(Struct, frozen=True):
    """Blocks 0 to n as a peer delivered them, and the same blocks from other sources.

    `decoded` is the JSON of Fabric's own tool, `filtered` the peer's filtered delivery of each
    block, and `events` the chaincode events of the whole range from Fabric's client library.
    """

    blocks: tuple[bytes, ...]
    decoded: tuple[Json, ...]
    filtered: tuple[Json, ...]
    events: tuple[Json, ...]


@cache
def recorded(name: Name) -> Recorded:
    """Return the recorded ledger with this name, which is read once in a process."""
    return Recorded(
        blocks=_members(f"{name}-blocks-{_RANGES[name]}.tar.xz"),
        decoded=tuple(json.loads(text) for text in _members(f"{name}-json-{_RANGES[name]}.tar.xz")),
        filtered=_lines(f"{name}-filtered-blocks.jsonl"),
        events=_lines(f"{name}-chaincode-events.jsonl"),
    )


@cache
def decoded_blocks(name: Name) -> tuple[Block, ...]:
    """Return the decoded blocks of a recorded ledger."""
    return tuple(decode_block(read_block(raw)) for raw in recorded(name).blocks)


@cache
def encoded_blocks(name: Name) -> tuple[EncodedBlock, ...]:
    """Return the documents of a recorded ledger that is indexed from its first block on."""
    encoded: list[EncodedBlock] = []
    owned: set[str] = set()
    for block in decoded_blocks(name):
        owns = decide_owners(block, ids_to_look_up(block) & owned)
        owned |= {claim.tx_id for claim, owns_id in zip(block.claims, owns, strict=True) if owns_id}
        digest = encoded[-1].digest if encoded else NO_DIGEST
        encoded.append(encode_block(block, owns, digest))
    return tuple(encoded)


def submitted_transactions() -> list[Json]:
    """Return the transactions that a program submitted to the Raft network.

    Each has the validation code and the block that the peer reported.
    """
    submitted: list[Json] = json.loads(
        (_FIXTURES / "raft-2.5-submitted-transactions.json").read_text()
    )
    return submitted


def _members(archive: str) -> tuple[bytes, ...]:
    shipped = _SHIPPED / archive
    with tarfile.open(shipped if shipped.exists() else _FIXTURES / archive) as tar:
        files = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        return tuple(file.read() for _, file in sorted(files.items()) if file is not None)


def _lines(name: str) -> tuple[Json, ...]:
    return tuple(json.loads(line) for line in (_FIXTURES / name).read_text().splitlines())
