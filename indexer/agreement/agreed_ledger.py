"""The agreed part of a channel's ledger, as reconciliation follows it."""

from indexer.progress.channel_progress import ChannelProgress
from ledger.position import Height


class AgreedLedger:
    """Shows reconciliation only the blocks that the required number of peers gave."""

    def __init__(self, progress: ChannelProgress) -> None:
        self._progress = progress

    @property
    def committed_height(self) -> Height:
        """The height below which every block is stored and agreed."""
        return self._progress.agreed_height

    @property
    def caught_up(self) -> bool:
        """Whether every block of the peer is stored and agreed."""
        return self._progress.caught_up and (
            self._progress.agreed_height == self._progress.committed_height
        )

    async def wait_for_height(self, height: int) -> None:
        """Wait until every block below `height` is stored and agreed."""
        await self._progress.wait_for_agreed_height(height)
