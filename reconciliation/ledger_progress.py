"""What reconciliation needs to know of the indexing of the ledger."""

from typing import Protocol

from ledger.position import Height


class LedgerProgress(Protocol):
    """How far the ledger of one channel may settle rows: it is stored, and its peers agree."""

    @property
    def committed_height(self) -> Height:
        """The number of the highest block that may settle rows, plus one."""

    @property
    def caught_up(self) -> bool:
        """Whether every block of the peer may settle rows."""

    async def wait_for_height(self, height: int) -> None:
        """Wait until every block below `height` may settle rows."""
