"""What a channel's figures tell."""

import time
from datetime import UTC, datetime

from indexer.channel_progress import ChannelProgress, ErrorSource
from ledger.mongodb.sync_state import ChannelState


def test_caught_up_is_what_a_peer_says_who_is_followed() -> None:
    """A peer that is away may have more blocks by now: what is not in the store may be in those."""
    progress = ChannelProgress("kindledger", time.monotonic, lambda: datetime.now(UTC))
    progress.resume(0, 5)
    told = [progress.caught_up]
    progress.record_peer_height(6)
    progress.record_commit(6, blocks=1, transactions=1, events=0, undecodable=0)
    told.append(progress.caught_up)
    progress.record_peer_height(7)
    told.append(progress.caught_up)
    progress.record_commit(7, blocks=1, transactions=1, events=0, undecodable=0)
    told.append(progress.caught_up)
    progress.record_error("the peer is away", ChannelState.WAITING, ErrorSource.PEER)
    assert [*told, progress.caught_up] == [False, True, False, True, False]


class Clock:
    """Moved by the test."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_lag_is_the_age_of_the_oldest_block_that_is_missing() -> None:
    clock = Clock()
    progress = ChannelProgress("kindledger", clock, lambda: datetime.now(UTC))
    progress.resume(0, 5)
    told = [progress.lag_s]
    progress.record_peer_height(5)
    clock.now += 60
    told.append(progress.lag_s)
    progress.record_peer_height(7)
    clock.now += 3
    progress.record_delivery(7, 100)
    clock.now += 2
    told.append(progress.lag_s)
    progress.record_commit(7, blocks=2, transactions=2, events=0, undecodable=0)
    told.append(progress.lag_s)
    clock.now += 1
    told.append(progress.lag_s)
    progress.record_commit(8, blocks=1, transactions=1, events=0, undecodable=0)
    assert [*told, progress.lag_s] == [0, 0, 5, 2, 3, 0]
    progress.record_peer_height(20)
    clock.now += 9
    progress.record_peer_height(8)
    assert progress.lag_s == 0, "the peer that is followed now has no more"
    progress.record_peer_height(9)
    clock.now += 4
    assert progress.lag_s == 4


def test_time_left_is_what_the_last_seconds_promise() -> None:
    clock = Clock()
    progress = ChannelProgress("kindledger", clock, lambda: datetime.now(UTC))
    told = [progress.time_left_s]
    progress.resume(0, 0)
    progress.record_peer_height(100)
    told.append(progress.time_left_s)
    for height in (20, 40, 60):
        clock.now += 2
        progress.record_commit(height, blocks=20, transactions=50, events=0, undecodable=0)
    told.append(progress.time_left_s)
    assert progress.rate == 25
    clock.now += 60
    told.append(progress.time_left_s)
    progress.record_commit(100, blocks=40, transactions=0, events=0, undecodable=0)
    assert [*told, progress.time_left_s] == [None, None, 4, None, 0]


def test_reasons_that_a_peer_makes_up_are_bounded() -> None:
    progress = ChannelProgress("kindledger", time.monotonic, lambda: datetime.now(UTC))
    for status in range(1_000):
        progress.record_reconnect(f"status_{status}")
    assert (len(progress.reconnects), progress.reconnects.total()) == (31, 1_000)
