"""Where blocks come from. The pipeline takes any source; tests hand in their own."""

from collections.abc import AsyncGenerator
from typing import Protocol

from google.protobuf.message import DecodeError
from msgspec import Struct

from ledger.errors import CorruptBlockError
from protos import common_pb2 as common


class SourceUnavailableError(Exception):
    """A source cannot deliver now; another one, or the same one later, may. `reason` is a label for metrics."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class BlockNotAvailableError(SourceUnavailableError):
    """The source does not have the block that was asked for (a peer's status 404)."""

    def __init__(self, message: str) -> None:
        super().__init__("not_found", message)


class DeliveredBlock(Struct, frozen=True):
    """A block as it came, unchecked; `size` in bytes."""

    block: common.Block
    size: int


class BlockSource(Protocol):
    """Delivers blocks of one channel."""

    @property
    def name(self) -> str:
        """Names the source in messages: a peer's address, a path."""

    @property
    def finite(self) -> bool:
        """Whether the source ends, as files do; a peer goes on for ever."""

    def blocks(self, start: int, tip: int | None) -> AsyncGenerator[DeliveredBlock, None]:
        """Blocks from `start` on, which is wanted next; `tip` is the last one that the store has, if any.

        A peer delivers from `tip`, so that its chain can be compared with the stored one. Earlier blocks may come
        too. Raises `SourceUnavailableError` when the source fails, `CorruptBlockError` for bytes that are no block.
        """

    async def newest(self) -> DeliveredBlock | None:
        """The source's highest block; None where a source cannot tell. Raises as `blocks` does."""


def parse_delivered(block_bytes: bytes, origin: str) -> DeliveredBlock:
    """Parses a serialized `common.Block`. Raises `CorruptBlockError` that names `origin`."""
    try:
        block = common.Block.FromString(block_bytes)
    except DecodeError:
        got = f"{len(block_bytes)} bytes that do not parse"
        raise CorruptBlockError(
            None, f"bytes from {origin}", "a serialized common.Block", got
        ) from None
    if not block.HasField("header"):
        got = f"{len(block_bytes)} bytes without a block header"
        raise CorruptBlockError(None, f"bytes from {origin}", "a serialized common.Block", got)
    return DeliveredBlock(block, len(block_bytes))
