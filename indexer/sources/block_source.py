"""The interface of block sources, which deliver blocks to the pipeline: peers and files."""

from collections.abc import AsyncGenerator
from typing import Protocol

from msgspec import Struct

from ledger.decoding.blocks import block_number


class SourceUnavailableError(Exception):
    """A source cannot deliver now; another source can, or the same source later.

    `reason` is a label for metrics.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class BlockNotAvailableError(SourceUnavailableError):
    """The source does not have the requested block (a peer responds with status 404)."""

    def __init__(self, message: str) -> None:
        super().__init__("not_found", message)


class DeliveredBlock(Struct, frozen=True):
    """A serialized block as the source delivered it, not yet parsed and checked.

    `name` names the bytes in messages.
    """

    number: int
    data: bytes | memoryview
    name: str

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self.data)


class BlockSource(Protocol):
    """Delivers the blocks of one channel."""

    @property
    def name(self) -> str:
        """The source's name in messages: a peer's address, or paths of files."""

    @property
    def finite(self) -> bool:
        """Whether the source ends, as files do; a peer never ends."""

    @property
    def seeks(self) -> bool:
        """Whether `blocks` begins at the start block; files are read from the first one on."""

    def blocks(self, start: int, tip: int | None) -> AsyncGenerator[DeliveredBlock, None]:
        """Yield the blocks from `start` on.

        If the caller has the block before `start`, it hands in its number as `tip`. A peer then
        delivers from `tip` on, so that its chain can be compared with the caller's chain. Lower
        blocks may be delivered too. Raises `SourceUnavailableError` when the source fails, and
        `CorruptBlockError` for bytes that are not a block.
        """

    async def newest(self) -> DeliveredBlock | None:
        """Return the source's highest block; None if the source does not know it.

        Raises the same errors as `blocks`.
        """


def delivered_block(block_bytes: bytes | memoryview, origin: str) -> DeliveredBlock:
    """Return a serialized `common.Block` with its number.

    Raises `CorruptBlockError`, which names the `origin`, for bytes without a block header.
    """
    name = f"bytes from {origin}"
    return DeliveredBlock(block_number(block_bytes, name), block_bytes, name)
