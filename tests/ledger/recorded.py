"""Two ledgers recorded from real Fabric networks, with what Fabric's own tools and clients said of them."""

import json
import tarfile
from functools import cache
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

Name = Literal["raft-2.5", "bft-3.1"]
NAMES: tuple[Name, ...] = ("raft-2.5", "bft-3.1")

_ROOT = Path(__file__).parent.parent.parent
_FOLDER = _ROOT / "tests" / "fixtures" / "ledgers"
_SHIPPED = _ROOT / "devnet" / "recorded"
"""What the demo indexes too."""
_RANGES: dict[Name, str] = {"raft-2.5": "000000-000135", "bft-3.1": "000000-000013"}

Json = dict[str, Any]


class Recorded(Struct, frozen=True):
    """Blocks 0 to n as a peer delivered them; `decoded` as Fabric's tool puts them into JSON.

    `filtered` is what the peer's filtered delivery said of each block, `events` what Fabric's client library
    delivered as chaincode events of the whole range.
    """

    blocks: tuple[bytes, ...]
    decoded: tuple[Json, ...]
    filtered: tuple[Json, ...]
    events: tuple[Json, ...]


@cache
def recorded(name: Name) -> Recorded:
    """The recorded ledger of that name, read once a process."""
    return Recorded(
        blocks=_members(f"{name}-blocks-{_RANGES[name]}.tar.xz"),
        decoded=tuple(json.loads(text) for text in _members(f"{name}-json-{_RANGES[name]}.tar.xz")),
        filtered=_lines(f"{name}-filtered-blocks.jsonl"),
        events=_lines(f"{name}-chaincode-events.jsonl"),
    )


def submitted_transactions() -> list[Json]:
    """What the driver of the Raft network submitted, with the code and the block that the peer reported."""
    submitted: list[Json] = json.loads(
        (_FOLDER / "raft-2.5-submitted-transactions.json").read_text()
    )
    return submitted


def _members(archive: str) -> tuple[bytes, ...]:
    shipped = _SHIPPED / archive
    with tarfile.open(shipped if shipped.exists() else _FOLDER / archive) as tar:
        files = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        return tuple(file.read() for _, file in sorted(files.items()) if file is not None)


def _lines(name: str) -> tuple[Json, ...]:
    return tuple(json.loads(line) for line in (_FOLDER / name).read_text().splitlines())
