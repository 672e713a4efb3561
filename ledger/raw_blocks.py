"""The interface of archives, which keep blocks as peers delivered them."""

from typing import Protocol


class RawBlocks(Protocol):
    """Keeps serialized blocks of one channel."""

    async def raw_block(self, number: int) -> bytes | None:
        """Return the serialized `common.Block` with this number, or None if it is not kept.

        Archives can be altered: the caller compares the block with what it trusts. Raises
        `LedgerError` if what is kept cannot be read.
        """
