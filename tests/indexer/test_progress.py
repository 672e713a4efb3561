"""What a channel's figures tell."""

import time
from datetime import UTC, datetime

from indexer.progress import Progress
from ledger.sync_state import State


def test_caught_up_is_what_a_peer_says_who_is_followed() -> None:
    """A peer that is away may have more blocks by now: what is not in the store may be in those."""
    progress = Progress("kindledger", time.monotonic, lambda: datetime.now(UTC))
    progress.resume(0, 5)
    told = [progress.caught_up]
    progress.saw_peer_height(6)
    progress.committed(6, blocks=1, transactions=1, events=0, undecodable=0)
    told.append(progress.caught_up)
    progress.saw_peer_height(7)
    told.append(progress.caught_up)
    progress.committed(7, blocks=1, transactions=1, events=0, undecodable=0)
    told.append(progress.caught_up)
    progress.failed("the peer is away", State.WAITING)
    assert [*told, progress.caught_up] == [False, True, False, True, False]
