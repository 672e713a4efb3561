"""What reconciliation needs to know of the indexing of the ledger."""

from typing import Protocol

from ledger.position import Height


class LedgerProgress(Protocol):
    """How far the ledger of one channel is stored."""

    @property
    def committed_height(self) -> Height:
        """The number of the highest stored block, plus one."""

    @property
    def caught_up(self) -> bool:
        """Whether every block of the peer is stored."""

    async def wait_for_height(self, height: int) -> None:
        """Wait until every block below `height` is stored."""
