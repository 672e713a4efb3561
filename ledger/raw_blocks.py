"""The interface of archives, which keep blocks as peers delivered them."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from msgspec import Struct

from ledger.archive.frames import FrameError, decompress
from ledger.commit_hash import claimed_commit_hash
from ledger.decoding.block_identities import BlockIdentity
from ledger.decoding.blocks import UndecodedBlock, read_block
from ledger.errors import CorruptBlockError, DamagedRawBlockError, StoreConflictError


class CompressedBlock(Struct, frozen=True):
    """A serialized `common.Block` as one frame of zstd."""

    number: int
    frame: bytes


class KeptBlock(Struct, frozen=True):
    """A block as it is kept: `frame` is the compressed block, and `place` names where it lies.

    `damage` says what is wrong with the frame, None if its hash is right.
    """

    number: int
    place: str
    frame: bytes = b""
    damage: str | None = None

    def block_bytes(self) -> bytes:
        """Return the serialized block. Raises `DamagedRawBlockError`."""
        if self.damage is not None:
            raise DamagedRawBlockError(self.number, self.place, self.damage)
        try:
            return decompress(self.frame)
        except FrameError as error:
            raise DamagedRawBlockError(self.number, self.place, str(error)) from error


class KeptRange(Struct, frozen=True):
    """The lowest and the highest kept block, and the bytes that all take; None if not known.

    Blocks in between may be missing.
    """

    first: int
    last: int
    bytes: int | None


class RawBlocks(Protocol):
    """Keeps serialized blocks of one channel."""

    @property
    def name(self) -> str:
        """The place in messages: a folder, or a collection of MongoDB."""

    async def raw_block(self, number: int) -> bytes | None:
        """Return the serialized `common.Block` with this number, or None if it is not kept.

        Archives can be altered: the caller compares the block with what it trusts. Raises
        `LedgerError` if what is kept cannot be read.
        """

    async def kept_range(self) -> KeptRange | None:
        """Return the range of the kept blocks, or None if none is kept."""

    def kept_blocks(self, first: int, last: int) -> AsyncGenerator[KeptBlock, None]:
        """Yield what is kept of the blocks from `first` to `last`, in ascending order.

        Damaged blocks are yielded too. Raises `ArchiveUnavailableError` if nothing can be read.
        """


class RawBlockArchive(RawBlocks, Protocol):
    """Keeps serialized blocks, and takes new ones."""

    async def append(self, blocks: Sequence[CompressedBlock]) -> None:
        """Keep blocks that are not committed yet. They are durable when this returns.

        A block that is kept already stays as it is; its signatures may be those of another peer.
        The call can be repeated. Raises `StoreConflictError` if another block of the same number is
        kept, and `ArchiveUnavailableError` if the archive cannot be written.
        """

    async def replace(self, blocks: Sequence[CompressedBlock]) -> None:
        """Keep these blocks instead of what is kept of their numbers, if anything is."""

    async def remove_from(self, number: int) -> None:
        """Remove the block with this number and all higher ones."""


def check_same_block(kept: KeptBlock, block: CompressedBlock) -> bool:
    """Return True if the kept block is the same block, though its signatures may be others.

    Raises `DamagedRawBlockError` if the kept one cannot be read, and `StoreConflictError` if it is
    another block.
    """
    if kept.damage is None and kept.frame == block.frame:
        return True
    try:
        check_raw_block(kept.block_bytes(), _identity(decompress(block.frame))[1], kept.place)
    except DamagedRawBlockError as error:
        if not error.is_other_block:
            raise
        raise StoreConflictError(
            "raw blocks", block.number, kept.place, "the delivered block", error.what
        ) from error
    return True


def check_raw_block(data: bytes, expected: BlockIdentity, place: str) -> UndecodedBlock:
    """Return the checked block in the bytes that are kept as a block of the chain.

    `expected` is its identity as the ledger has it. Raises `DamagedRawBlockError`, which names the
    `place`, if the bytes are no block, or another one.
    """
    try:
        block, identity = _identity(data)
    except CorruptBlockError as error:
        what = f"no block: {error.field}: expected {error.expected}, got {error.got}"
        raise DamagedRawBlockError(expected.number, place, what) from error
    difference = identity_difference(expected, identity)
    if difference is not None:
        what = f"another block: {difference}"
        raise DamagedRawBlockError(expected.number, place, what, is_other_block=True)
    return block


def _identity(data: bytes) -> tuple[UndecodedBlock, BlockIdentity]:
    """Return the checked block in the bytes, and its identity. Raises `CorruptBlockError`."""
    block = read_block(data)
    commit_hash = claimed_commit_hash(block).hex() or None
    return block, BlockIdentity(block.number, block.hash.hex(), block.codes, commit_hash)


def identity_difference(expected: BlockIdentity, got: BlockIdentity) -> str | None:
    """Return a text with the first field in which two blocks differ, or None.

    The other bytes of a block may differ: peers have different signatures of the same block.
    """
    if len(expected.codes) == len(got.codes) and expected.codes != got.codes:
        pairs = enumerate(zip(expected.codes, got.codes, strict=True))
        index, (one, other) = next((i, pair) for i, pair in pairs if pair[0] != pair[1])
        return f"validation code of transaction {index}: expected {one}, got {other}"
    for name, before, after in (
        ("number", expected.number, got.number),
        ("hash", expected.hash, got.hash),
        ("number of validation codes", len(expected.codes), len(got.codes)),
        ("commit hash", expected.commit_hash, got.commit_hash),
    ):
        if before != after:
            return f"{name}: expected {before}, got {after}"
    return None
