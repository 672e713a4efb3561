"""The progress of a channel: lag, remaining time, and the counts of reconnections."""

import time
from datetime import UTC, datetime

from indexer.progress.channel_progress import ChannelProgress, ErrorSource
from ledger.mongodb.sync_state import ChannelState
from ledger.position import BlockNumber, Height
from tests.clock import Clock


def test_a_channel_is_caught_up_only_while_a_peer_is_followed() -> None:
    """A peer that is unavailable may have more blocks by now."""
    progress = ChannelProgress("kindledger", time.monotonic, lambda: datetime.now(UTC))
    progress.resume(BlockNumber(0), Height(5))
    caught_up = [progress.caught_up]
    progress.record_peer_height(Height(6))
    progress.record_commit(Height(6), blocks=1, transactions=1, events=0, undecodable=0)
    caught_up.append(progress.caught_up)
    progress.record_peer_height(Height(7))
    caught_up.append(progress.caught_up)
    progress.record_commit(Height(7), blocks=1, transactions=1, events=0, undecodable=0)
    caught_up.append(progress.caught_up)
    progress.record_error("the peer is unavailable", ChannelState.WAITING, ErrorSource.PEER)
    assert [*caught_up, progress.caught_up] == [False, True, False, True, False]


def test_lag_is_the_age_of_the_oldest_block_that_is_missing() -> None:
    clock = Clock(1_000.0)
    progress = ChannelProgress("kindledger", clock, lambda: datetime.now(UTC))
    progress.resume(BlockNumber(0), Height(5))
    lags = [progress.lag_s]
    progress.record_peer_height(Height(5))
    clock.now += 60
    lags.append(progress.lag_s)
    progress.record_peer_height(Height(7))
    clock.now += 3
    progress.record_delivery(BlockNumber(7), 100)
    clock.now += 2
    lags.append(progress.lag_s)
    progress.record_commit(Height(7), blocks=2, transactions=2, events=0, undecodable=0)
    lags.append(progress.lag_s)
    clock.now += 1
    lags.append(progress.lag_s)
    progress.record_commit(Height(8), blocks=1, transactions=1, events=0, undecodable=0)
    assert [*lags, progress.lag_s] == [0, 0, 5, 2, 3, 0]
    progress.record_peer_height(Height(20))
    clock.now += 9
    progress.record_peer_height(Height(8))
    assert progress.lag_s == 0, "the peer that is followed now has fewer blocks"
    progress.record_peer_height(Height(9))
    clock.now += 4
    assert progress.lag_s == 4


def test_time_left_follows_from_the_rate_of_the_last_seconds() -> None:
    clock = Clock(1_000.0)
    progress = ChannelProgress("kindledger", clock, lambda: datetime.now(UTC))
    times_left = [progress.time_left_s]
    progress.resume(BlockNumber(0), Height(0))
    progress.record_peer_height(Height(100))
    times_left.append(progress.time_left_s)
    for height in (20, 40, 60):
        clock.now += 2
        progress.record_commit(Height(height), blocks=20, transactions=50, events=0, undecodable=0)
    times_left.append(progress.time_left_s)
    assert progress.rate == 25
    clock.now += 60
    times_left.append(progress.time_left_s)
    progress.record_commit(Height(100), blocks=40, transactions=0, events=0, undecodable=0)
    assert [*times_left, progress.time_left_s] == [None, None, 4, None, 0]


def test_the_number_of_reconnect_reasons_is_bounded() -> None:
    progress = ChannelProgress("kindledger", time.monotonic, lambda: datetime.now(UTC))
    for status in range(1_000):
        progress.record_reconnect(f"status_{status}")
    assert (len(progress.reconnects), progress.reconnects.total()) == (31, 1_000)
