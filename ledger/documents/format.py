"""What all stored documents share: their format's version, names of codes and types, times."""

from typing import Any, Final

from ledger.model import Timestamp

Document = dict[str, Any]

FORMAT: Final = 2
"""Version of the documents' shapes, stored in each. It rises when the same chain would give other documents."""

_MIN_SECONDS, _MAX_SECONDS = (
    -62135596800,
    253402300799,
)  # years 1 to 9999, as protobuf's Timestamp allows


def milliseconds(timestamp: Timestamp | None) -> int | None:
    """Milliseconds since 1970, rounded down; None for no time, or one outside the years 1 to 9999."""
    if timestamp is None or not _MIN_SECONDS <= timestamp.seconds <= _MAX_SECONDS:
        return None
    if not 0 <= timestamp.nanos < 1_000_000_000:
        return None
    return timestamp.seconds * 1000 + timestamp.nanos // 1_000_000
