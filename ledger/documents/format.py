"""Definitions for all stored documents: the version of their format, and their times."""

from typing import Any, Final

from ledger.model import Timestamp

Document = dict[str, Any]
"""A document of MongoDB."""

FORMAT: Final = 3
"""The version of the format of documents, which each document contains.

Increase it with each change after which the same chain gives other documents.
"""

READABLE_FORMATS: Final = range(2, FORMAT + 1)
"""The formats of stored documents that this program continues, reads and compares.

Documents of format 2 are those of format 3 without digests; the signers of a block were before its
counts.
"""

FORMATS_WITHOUT_DIGESTS: Final = frozenset({2})
"""The readable formats in which the documents of blocks have no digests."""

_MIN_SECONDS: Final = -62_135_596_800
"""The first second of year 1, the lowest that protobuf's Timestamp allows."""

_MAX_SECONDS: Final = 253_402_300_799
"""The last second of year 9999, the highest that protobuf's Timestamp allows."""


def milliseconds(timestamp: Timestamp | None) -> int | None:
    """Return the milliseconds since 1970, rounded down.

    Return None for no timestamp, and for a timestamp outside the years 1 to 9999.
    """
    if timestamp is None or not _MIN_SECONDS <= timestamp.seconds <= _MAX_SECONDS:
        return None
    if not 0 <= timestamp.nanos < 1_000_000_000:
        return None
    return timestamp.seconds * 1000 + timestamp.nanos // 1_000_000
