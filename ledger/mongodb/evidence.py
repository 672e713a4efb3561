"""Makes evidence bundles of stored transactions, from blocks that an archive or a peer has."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from msgspec import Struct
from pymongo.asynchronous.database import AsyncDatabase

from ledger.decoding.blocks import read_block
from ledger.errors import ChainMismatchError
from ledger.evidence.errors import EvidenceError
from ledger.evidence.making import make_bundle, missing_values
from ledger.mongodb.block_range import lowest_block_number
from ledger.mongodb.collections import BLOCKS
from ledger.mongodb.earlier_values import earlier_values
from ledger.mongodb.stored_blocks import StoredBlock, read_stored_block
from ledger.state_changes import StateKey

T = TypeVar("T")

ReadBlocks = Callable[[Sequence[int]], Awaitable[Mapping[int, bytes]]]
"""Returns the serialized blocks with these numbers, as far as the source has them."""


class InThread(Protocol):
    """Runs work that takes a processor in another thread."""

    async def __call__(self, work: Callable[[], T], /) -> T:
        """Return the result of the work."""


MAX_BLOCK_BYTES: Final = 128 << 20
"""The most bytes of all blocks of a bundle: Fabric's largest block, and its configuration."""

_OTHER_BLOCK: Final = (
    "The source has another block than the one that is stored, so no evidence was made of it. "
    "`kindledger verify --source` compares all blocks of a source with the stored ledger."
)


class MissingBlocksError(Exception):
    """Blocks that the evidence needs and that the source does not have."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = tuple(numbers)
        super().__init__(f"the source does not have block {', '.join(map(str, numbers))}")


class Evidence(Struct, frozen=True):
    """A bundle, and the number and the hash of the CONFIG block on which it rests."""

    bundle: bytes
    anchor: int
    anchor_hash: bytes


async def make_evidence(
    database: AsyncDatabase[Any],
    number: int,
    index: int,
    read_blocks: ReadBlocks,
    *,
    in_thread: InThread = asyncio.to_thread,
    max_block_bytes: int = MAX_BLOCK_BYTES,
) -> Evidence:
    """Return the evidence of the transaction at an index of a stored block.

    It rests on the genesis block, or else on the lowest CONFIG block that the stored blocks name:
    then a verifier must trust that one. Each block is compared with the stored block before it is
    used.

    Raises `MissingBlocksError`; `ChainMismatchError` for a block that differs from the stored one;
    `EvidenceError` if the bundle would prove nothing, or is too large; `CorruptBlockError` for
    bytes that are no block; and what `read_blocks` raises.
    """
    numbers = [*await _config_numbers(database, number, index), number]
    blocks = await read_blocks(numbers)
    missing = [each for each in numbers if each not in blocks]
    if missing:
        raise MissingBlocksError(missing)
    size = sum(len(blocks[each]) for each in numbers)
    if size > max_block_bytes:
        reason = f"its blocks have {size} bytes, and at most {max_block_bytes} are allowed here"
        raise EvidenceError(number, index, reason)
    stored = await _stored_blocks(database, [*numbers, number - 1])
    needed = await in_thread(lambda: _compare(blocks, stored, number))
    previous = _previous_commit_hash(stored, number)
    values = await _earlier_values(database, number, needed)
    *config_blocks, block = [blocks[each] for each in numbers]

    def make() -> bytes:
        return make_bundle(
            config_blocks, block, index, previous_commit_hash=previous, earlier_values=values
        )

    anchor = numbers[0]
    return Evidence(await in_thread(make), anchor, read_block(blocks[anchor]).hash)


async def _config_numbers(database: AsyncDatabase[Any], number: int, index: int) -> list[int]:
    """Return the numbers of the CONFIG blocks below a block, ascending, as far as they are known.

    Each block names the newest CONFIG block, and a CONFIG block names itself. So the block before a
    CONFIG block names the one before.
    """

    async def named(by: int) -> int | None:
        block = await database[BLOCKS].find_one({"_id": by}, {"lastConfig": 1})
        config = block["lastConfig"] if block is not None else None
        if block is not None and not (isinstance(config, int) and 0 <= config <= by):
            reason = f"the orderers of block {by} do not name the configuration in force"
            raise EvidenceError(number, index, reason)
        return config

    found: list[int] = []
    last = await named(number)
    if last == number:
        last = await named(number - 1)
    while last is not None:
        found.append(last)
        last = await named(last - 1)
    return found[::-1]


async def _stored_blocks(
    database: AsyncDatabase[Any], numbers: Sequence[int]
) -> dict[int, StoredBlock]:
    cursor = database[BLOCKS].find({"_id": {"$in": list(numbers)}})
    return {document["_id"]: read_stored_block(document) async for document in cursor}


def _compare(
    blocks: Mapping[int, bytes], stored: Mapping[int, StoredBlock], number: int
) -> set[StateKey]:
    """Compare blocks with the stored ones, and return the keys whose earlier values are needed.

    A CONFIG block below the start block is not stored: the signatures of the blocks after it are
    verified with it.
    """
    for each, data in blocks.items():
        block = read_block(data)
        expected = stored.get(each)
        if expected is None:
            continue
        for name, ours, got in (
            ("hash", expected.hash, block.hash),
            ("validation codes", expected.codes, block.codes),
        ):
            if ours != got:
                raise ChainMismatchError(each, name, ours.hex(), got.hex(), _OTHER_BLOCK)
    return missing_values(blocks[number])


def _previous_commit_hash(stored: Mapping[int, StoredBlock], number: int) -> bytes | None:
    """Return the commit hash of the block before: b"" for block 1, None if it is not known."""
    if number == 1:
        return b""
    previous = stored.get(number - 1)
    return previous.commit_hash or None if previous is not None else None


async def _earlier_values(
    database: AsyncDatabase[Any], number: int, keys: set[StateKey]
) -> Mapping[StateKey, bytes | None] | None:
    if not keys:
        return {}
    start = await lowest_block_number(database)
    return await earlier_values(database, start or 0, number, keys)
