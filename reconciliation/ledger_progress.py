"""What reconciliation must know of the ledger that is being indexed beside it."""

from typing import Protocol


class LedgerProgress(Protocol):
    """How far the ledger of one channel is stored."""

    @property
    def committed_height(self) -> int:
        """The number of stored blocks, counted from block 0."""

    @property
    def caught_up(self) -> bool:
        """Whether every block that the peer has is stored."""

    async def wait_for_height(self, height: int) -> None:
        """Wait until so many blocks are stored."""
