"""The estimate of the builds of indexes, from what MongoDB reports about them."""

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from indexer.pipeline.index_build_estimate import BuildEstimate
from ledger.mongodb.index_builds import BuildStep


def scanning(collection: str, done: int, total: int = 1000) -> BuildStep:
    return BuildStep(collection, scans=True, done=done, total=total)


def loading(collection: str, done: int, total: int = 1000) -> BuildStep:
    return BuildStep(collection, scans=False, done=done, total=total)


@pytest.fixture
def clock() -> Callable[[], float]:
    """A clock that goes on by ten seconds whenever it is read."""
    seconds: Iterator[int] = count(0, 10)
    return lambda: float(next(seconds))


def test_the_share_grows_with_the_scan_and_with_each_index(clock: Callable[[], float]) -> None:
    estimate = BuildEstimate({"events": 3}, clock)
    assert (estimate.share, estimate.seconds_left) == (None, None)
    shares: list[float | None] = []
    for step in (
        scanning("events", 0),
        scanning("events", 500),
        scanning("events", 1000),
        loading("events", 500),
        loading("events", 1, 2),  # a partial index has fewer entries
        loading("events", 500),
        loading("events", 1000),
    ):
        estimate.observe([step])
        shares.append(estimate.share)
    assert shares == pytest.approx([0.0, 0.425, 0.85, 0.875, 0.925, 0.925, 0.95])
    estimate.observe([])
    assert estimate.share == pytest.approx(0.95), "nothing is reported between two steps"


def test_the_time_left_is_that_of_the_collection_with_most_work(
    clock: Callable[[], float],
) -> None:
    estimate = BuildEstimate({"blocks": 1, "events": 1}, clock)
    estimate.observe([loading("blocks", 1000), scanning("events", 100), scanning("others", 1)])
    assert estimate.share == pytest.approx(0.085)
    assert estimate.seconds_left == pytest.approx(10 * 0.915 / 0.085)
    estimate.observe([scanning("events", 500)])
    assert estimate.seconds_left == pytest.approx(20 * 0.575 / 0.425)


def test_without_a_report_nothing_is_estimated(clock: Callable[[], float]) -> None:
    estimate = BuildEstimate({"blocks": 1}, clock)
    estimate.observe([])
    assert (estimate.share, estimate.seconds_left) == (None, None)
