"""The problem that an index is missing, and when it will exist."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from pymongo.errors import PyMongoError

from explorer_api.http.problems import ProblemError
from explorer_api.live.heads import MAX_SILENCE_S, HeadSnapshot
from ledger.mongodb.required_indexes import is_index_missing
from ledger.mongodb.sync_state import ChannelState, SyncState, describe_build

_RETRY_S: Final = 10
_MIN_RETRY_S: Final = 2
_MAX_RETRY_S: Final = 60
_DEFERRING_STATES: Final = frozenset(
    {
        ChannelState.STARTING,
        ChannelState.CATCHING_UP,
        ChannelState.BUILDING_INDEXES,
        ChannelState.WAITING,
    }
)
"""The states in which a daemon has not built all indexes yet.

See `indexer.pipeline.deferred_indexes`.
"""


def will_be_built(sync: SyncState | None) -> bool:
    """Return whether a daemon or an import runs that builds the missing indexes in the end."""
    if sync is None or sync.state not in _DEFERRING_STATES:
        return False
    return (datetime.now(UTC) - sync.updated_at).total_seconds() <= MAX_SILENCE_S


def describe_missing(sync: SyncState) -> str:
    """Return what happens to the missing indexes: they are being built, or will be built later."""
    if sync.index_build is not None:
        return describe_build(sync.index_build)
    return "the indexes are built when the channel is near the head of its peer"


@contextmanager
def explain_missing_indexes(snapshot: HeadSnapshot) -> Iterator[None]:
    """Raise a `ProblemError` that tells the progress if an index is missing that will be built."""
    try:
        yield
    except PyMongoError as error:
        if snapshot.sync is None or not is_index_missing(error) or not will_be_built(snapshot.sync):
            raise
        raise _building_indexes(snapshot.sync) from error


def _building_indexes(sync: SyncState) -> ProblemError:
    build = sync.index_build
    left_s = build.seconds_left if build is not None else None
    seconds = _RETRY_S if left_s is None else round(min(max(left_s, _MIN_RETRY_S), _MAX_RETRY_S))
    return ProblemError(
        503,
        "building-indexes",
        "Building indexes",
        f"An index that this query needs does not exist yet: {describe_missing(sync)}.",
        f"Try again in {seconds} s. Blocks, the transactions of a block, and streams can be read "
        "meanwhile.",
        headers={"Retry-After": str(seconds)},
        secondsLeft=left_s,
    )
