"""What the checks of an audit share."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from cli.audit.blocks import AuditRange
from cli.audit.report import Checks
from cli.configuration.settings import Settings
from ledger.mongodb.block_range import BlockRange
from ledger.mongodb.reader import LedgerReader
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import SyncState


@dataclass(frozen=True)
class AuditContext:
    """The audited channel and blocks, and what receives the findings and the progress.

    `state` is the last report of a daemon. `phase` and `advance` are those of
    `cli.output.progress_bars.phase_progress`.
    """

    settings: Settings
    channel: str
    store: LedgerStore
    reader: LedgerReader
    state: SyncState | None
    range: AuditRange
    blocks: BlockRange
    checks: Checks
    now: datetime
    phase: Callable[[str, int], None]
    advance: Callable[[int], None]

    def begin(self, phase: str) -> None:
        """Begin a phase of work on all blocks of the range."""
        self.phase(phase, self.blocks.highest - self.blocks.lowest)

    def reached(self, height: int) -> None:
        """Tell that the blocks below `height` are done in this phase."""
        self.advance(height - 1 - self.blocks.lowest)
