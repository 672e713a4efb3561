"""What all stored documents share: their format's version, names of codes and types, times."""

from typing import Any, Final

from ledger.model import Timestamp
from protos import common_pb2 as common
from protos import transaction_pb2 as transaction_pb

Document = dict[str, Any]

FORMAT: Final = 2
"""Version of the documents' shapes, stored in each. It rises when the same chain would give other documents."""

_STATUS: Final[dict[int, str]] = {
    number: name for name, number in transaction_pb.TxValidationCode.items()
}
_TYPE: Final[dict[int, str]] = {number: name for name, number in common.HeaderType.items()}
_MIN_SECONDS, _MAX_SECONDS = (
    -62135596800,
    253402300799,
)  # years 1 to 9999, as protobuf's Timestamp allows


def status_name(code: int) -> str:
    """The name of a validation code, else the number as text."""
    return _STATUS.get(code) or str(code)


def type_name(number: int | None) -> str | None:
    """Return the name of a header type, else the number as text; None for none."""
    return None if number is None else _TYPE.get(number) or str(number)


def milliseconds(timestamp: Timestamp | None) -> int | None:
    """Milliseconds since 1970, rounded down; None for no time, or one outside the years 1 to 9999."""
    if timestamp is None or not _MIN_SECONDS <= timestamp.seconds <= _MAX_SECONDS:
        return None
    if not 0 <= timestamp.nanos < 1_000_000_000:
        return None
    return timestamp.seconds * 1000 + timestamp.nanos // 1_000_000
