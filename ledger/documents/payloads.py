"""The stored form of bytes that a client or a chaincode chose: exact, and queryable if possible.

A payload that is a JSON object or array is stored parsed (`json`), other UTF-8 as text, and other
bytes as binary. If the parsed payload does not give the same bytes when it is encoded again, the
bytes are stored as well.

BSON cannot represent all JSON documents. An integer beyond 64 bits becomes `{"bigInteger": "…"}`.
In keys, NUL becomes U+2400, a full stop becomes U+FF0E, and a leading dollar sign becomes U+FF04,
which are similar symbols: MongoDB cannot store or cannot address the original characters. A JSON
document stays text if its nesting is too deep, if it has a number beyond the range of a double, or
if two of its keys would become equal.
"""

from typing import Any, Literal

import msgspec

Encoding = Literal["json", "text", "binary"]

MAX_NESTING = 90
"""The most levels of a parsed payload. MongoDB accepts 100 levels, and our documents add a few."""

MAX_JSON_BYTES = 1 << 20
"""The largest payload that is stored parsed; the two bytes `[]` take sixty when parsed."""

MAX_JSON_COMMAS = 10_000
"""The most commas in a payload that is stored parsed.

If an indexed field is a list, the index has an entry for each of its values.
"""

_INT64_MAX = 2**63 - 1
_INT64_MIN = -(2**63)
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_INTEGER = b"0" * 19
_decode_json = msgspec.json.Decoder().decode
_encode_json = msgspec.json.Encoder(enc_hook=int).encode  # BSON gives long integers back as Int64


def text_or_binary(data: bytes) -> str | bytes:
    """Return UTF-8 as a string, and other bytes unchanged."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def int_value(number: int) -> int | dict[str, str]:
    """Return an integer in the form that BSON can hold: `{"bigInteger": "…"}` beyond 64 bits."""
    return number if _INT64_MIN <= number <= _INT64_MAX else {"bigInteger": str(number)}


def payload_fields(payload: bytes) -> dict[str, Any]:
    """Return the fields `payload`, `payloadEncoding`, and `payloadBytes` where it is needed.

    `payloadBytes` is needed if `payload` alone does not give the exact bytes.
    """
    if _may_be_parsed(payload):
        try:
            return _json_fields(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, _NotRepresentableError):
            pass  # not JSON, or JSON that BSON cannot represent: stored as text or binary
    value = text_or_binary(payload)
    return {"payload": value, "payloadEncoding": "text" if isinstance(value, str) else "binary"}


def _may_be_parsed(payload: bytes) -> bool:
    small = len(payload) <= MAX_JSON_BYTES and payload.count(b",") <= MAX_JSON_COMMAS
    return small and payload.lstrip()[:1] in (b"{", b"[")


def payload_bytes(fields: dict[str, Any]) -> bytes | None:
    """Return the exact bytes from which `payload_fields` made these fields, read from MongoDB.

    Return None if `ledger.documents.size_limit` omitted them; the object in their place has their
    SHA-256 and their size.
    """
    payload = fields["payload"]
    exact = fields.get("payloadBytes")
    if exact is None:
        exact = _encode_json(payload) if fields["payloadEncoding"] == "json" else payload
    if isinstance(exact, str):
        return exact.encode()
    return exact if isinstance(exact, bytes) else None


class _NotRepresentableError(Exception):
    """A JSON document that BSON cannot represent."""


def _json_fields(payload: bytes) -> dict[str, Any]:
    value = _decode_json(payload)
    exact = _encode_json(value) == payload
    if _may_be_unrepresentable(payload):
        representable = _representable(value, MAX_NESTING)
        exact = exact and representable == value
        value = representable
    fields = {"payload": value, "payloadEncoding": "json"}
    if not exact:
        fields["payloadBytes"] = payload
    return fields


def _may_be_unrepresentable(payload: bytes) -> bool:
    """Return whether the payload may have a part that BSON cannot represent.

    A search in the bytes is many times faster than a walk through the parsed payload.
    """
    return (
        b"." in payload
        or b"$" in payload
        or b"\\u00" in payload
        or payload.count(b"[") + payload.count(b"{") > MAX_NESTING
        or _LONG_INTEGER in payload.translate(_DIGITS)
    )


def _representable(value: Any, levels: int) -> Any:
    """Return the value in the form that BSON can represent, or raise `_NotRepresentableError`."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int_value(value)
    if not isinstance(value, dict | list):
        return value
    if levels == 0:
        raise _NotRepresentableError
    if isinstance(value, list):
        return [_representable(item, levels - 1) for item in value]
    result = {_key(key): _representable(item, levels - 1) for key, item in value.items()}
    if len(result) != len(value):
        raise _NotRepresentableError
    return result


def _key(key: str) -> str:
    key = key.replace("\0", "\u2400").replace(".", "\uff0e")
    return "\uff04" + key[1:] if key.startswith("$") else key
