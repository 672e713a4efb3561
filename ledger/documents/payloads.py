"""How bytes that a client or a chaincode chose are kept in BSON: queryable where they can be, always exact.

A payload that is a JSON object or array is kept parsed (`json`), other UTF-8 as text, the rest as binary. Where
encoding the parsed payload again would not give the same bytes, the bytes are kept beside it.

BSON cannot hold every JSON document. Integers beyond 64 bits become `{"bigInteger": "…"}`. In keys, NUL becomes
U+2400, a full stop U+FF0E and a leading dollar sign U+FF04 (symbols that look alike), because MongoDB cannot store or
cannot address the originals. What nests too deep, holds a number that no double can, or has keys that would then
coincide stays text.
"""

from typing import Any, Literal

import msgspec

Encoding = Literal["json", "text", "binary"]

MAX_NESTING = 90
"""MongoDB takes 100 levels in a document, of which ours need a few."""

MAX_JSON_BYTES = 1 << 20
"""Larger ones stay text: parsed, two bytes of `[],` are sixty."""

MAX_JSON_COMMAS = 10_000
"""What has more stays text: a field that is indexed may be a list, and each of its values is an entry of the index."""

_INT64_MAX = 2**63 - 1
_INT64_MIN = -(2**63)
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_INTEGER = b"0" * 19
_decode_json = msgspec.json.Decoder().decode
_encode_json = msgspec.json.Encoder(enc_hook=int).encode  # BSON gives long integers back as Int64


def text_or_binary(data: bytes) -> str | bytes:
    """UTF-8 as a string, anything else as bytes: the type tells which it was."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def int_value(number: int) -> int | dict[str, str]:
    """An integer that BSON can hold: beyond 64 bits `{"bigInteger": "…"}`."""
    return number if _INT64_MIN <= number <= _INT64_MAX else {"bigInteger": str(number)}


def payload_fields(payload: bytes) -> dict[str, Any]:
    """`payload`, `payloadEncoding` and, only where it takes them to give `payload` back, `payloadBytes`."""
    if _may_be_parsed(payload):
        try:
            return _json_fields(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, _NotRepresentableError):
            pass  # not JSON, or JSON that BSON cannot hold: kept as what it is below
    value = text_or_binary(payload)
    return {"payload": value, "payloadEncoding": "text" if isinstance(value, str) else "binary"}


def _may_be_parsed(payload: bytes) -> bool:
    small = len(payload) <= MAX_JSON_BYTES and payload.count(b",") <= MAX_JSON_COMMAS
    return small and payload.lstrip()[:1] in (b"{", b"[")


def payload_bytes(fields: dict[str, Any]) -> bytes | None:
    """The exact bytes from which `payload_fields` made these fields, as they come back from MongoDB.

    None if `ledger.documents.size_limit` had to omit them: what stands in their place tells their SHA-256 and size.
    """
    payload = fields["payload"]
    exact = fields.get("payloadBytes")
    if exact is None:
        exact = _encode_json(payload) if fields["payloadEncoding"] == "json" else payload
    if isinstance(exact, str):
        return exact.encode()
    return exact if isinstance(exact, bytes) else None


class _NotRepresentableError(Exception):
    """A JSON document that cannot be kept parsed."""


def _json_fields(payload: bytes) -> dict[str, Any]:
    value = _decode_json(payload)
    exact = _encode_json(value) == payload
    if _is_suspect(payload):
        representable = _representable(value, MAX_NESTING)
        exact = exact and representable == value
        value = representable
    fields = {"payload": value, "payloadEncoding": "json"}
    if not exact:
        fields["payloadBytes"] = payload
    return fields


def _is_suspect(payload: bytes) -> bool:
    """Whether there may be something that BSON cannot hold; a look at the bytes is many times faster than a walk."""
    return (
        b"." in payload
        or b"$" in payload
        or b"\\u00" in payload
        or payload.count(b"[") + payload.count(b"{") > MAX_NESTING
        or _LONG_INTEGER in payload.translate(_DIGITS)
    )


def _representable(value: Any, levels: int) -> Any:
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
