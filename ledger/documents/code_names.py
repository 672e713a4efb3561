"""Names of Fabric's validation codes and header types, as documents and filters use them.

The field `status` of a transaction holds the name of its validation code, the field `type` the name
of its header type. A number without a name is stored as its decimal text.
"""

from typing import Final

from protos import common_pb2 as common
from protos import transaction_pb2 as transaction_pb

STATUS_NAMES: Final[tuple[str, ...]] = tuple(transaction_pb.TxValidationCode.keys())
"""The names of the validation codes that Fabric defines."""

VALIDATION_CODES: Final = range(256)
"""All validation codes that a block can have: one byte for each envelope."""

_STATUSES: Final[dict[int, str]] = {
    code: name for name, code in transaction_pb.TxValidationCode.items()
}
_CODES: Final[dict[str, int]] = {
    **dict(transaction_pb.TxValidationCode.items()),
    **{str(code): code for code in VALIDATION_CODES},
}
_TYPES: Final[dict[int, str]] = {number: name for name, number in common.HeaderType.items()}
_TYPES_BY_NUMBER_TEXT: Final[dict[str, str]] = {
    str(number): name for number, name in _TYPES.items()
}


def status_name(code: int) -> str:
    """Return the name of a validation code, or the code as text if it has no name."""
    return _STATUSES.get(code) or str(code)


def validation_code(status: str) -> int | None:
    """Return the validation code with this name or this decimal text, or None."""
    return _CODES.get(status)


def type_name(number: int | None) -> str | None:
    """Return the name of a header type, or the number as text if it has no name; None for None."""
    return None if number is None else _TYPES.get(number) or str(number)


def stored_type(header_type: str) -> str:
    """Return the form in which a header type is stored; `header_type` is its name or its number."""
    return _TYPES_BY_NUMBER_TEXT.get(header_type, header_type)
