"""Estimates how long the builds of indexes still take, from what MongoDB reports."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from ledger.mongodb.index_builds import BuildStep

_SCAN_SHARE: Final = 0.85
"""The share of a collection's build in which it is scanned, and the entries are sorted.

It was 0.88 for eleven indexes of 600,000 transactions. Then the indexes are loaded one by one.
"""

_MIN_SHARE: Final = 0.02
"""The share of the work from which its time is estimated."""


class _CollectionBuild:
    """The build of the indexes of one collection."""

    def __init__(self, indexes: int) -> None:
        self._indexes, self._loading = indexes, 0
        self._last: BuildStep | None = None

    def share_at(self, step: BuildStep) -> float:
        """Return the share of the work that is done at this step, from 0 to 1.

        MongoDB does not tell which index it loads: the next one begins with fewer entries.
        """
        last, self._last = self._last, step
        done = step.done / step.total if step.total else 0.0
        if step.scans:
            return _SCAN_SHARE * min(done, 1.0)
        if last is not None and not last.scans and step.done < last.done:
            self._loading = min(self._loading + 1, self._indexes - 1)
        loaded = (self._loading + min(done, 1.0)) / self._indexes
        return _SCAN_SHARE + (1 - _SCAN_SHARE) * loaded


class BuildEstimate:
    """The share that is done, and the time that is left, of builds that run in parallel.

    `indexes` is the number of indexes of each collection. The collection that has most before it
    counts. All values are rough.
    """

    def __init__(self, indexes: Mapping[str, int], clock: Callable[[], float]) -> None:
        self._builds = {name: _CollectionBuild(count) for name, count in indexes.items()}
        self._clock, self._began_at = clock, clock()
        self.share: float | None = None
        """The share of the work that is done, from 0 to 1; None if it is not known."""

    def observe(self, steps: Iterable[BuildStep]) -> None:
        """Note what MongoDB does now; it reports nothing between two steps of a collection."""
        shares = [
            self._builds[step.collection].share_at(step)
            for step in steps
            if step.collection in self._builds
        ]
        self.share = min(shares, default=self.share)

    @property
    def elapsed_s(self) -> float:
        """The seconds since the builds began."""
        return self._clock() - self._began_at

    @property
    def seconds_left(self) -> float | None:
        """The seconds until the builds end; None if they cannot be estimated yet."""
        if self.share is None or self.share < _MIN_SHARE:
            return None
        return self.elapsed_s * (1 - self.share) / self.share
