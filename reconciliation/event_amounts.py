"""The amounts in the JSON payloads of events."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

_MAX_DIGITS: Final = 100


def amount_in(payload: Any, path: Sequence[str]) -> Decimal | None:
    """Return the number in the nested field `path` of a payload; None if there is no number.

    A number may be text, or an object with the field `bigInteger`.
    """
    value = payload
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, dict):
        value = value.get("bigInteger")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = str(value)
    if len(text) > _MAX_DIGITS:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None
