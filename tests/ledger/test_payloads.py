"""Event payloads: stored in a form that can be queried if possible, and always exact."""

import json
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.documents.payloads import MAX_NESTING, payload_bytes, payload_fields
from tests.ledger.hypothesis_profiles import PROFILES
from tests.ledger.invariants import decoded

_AWKWARD = [
    "",
    "$",
    "$ref",
    "$id",
    "$db",
    "$a",
    "\uff04a",
    "a.b",
    "a\uff0eb",
    ".",
    "\0",
    "\u2400",
    "é",
    "🎗",
    "bigInteger",
]
_strings = st.one_of(st.text(max_size=6), st.sampled_from(_AWKWARD))
_integers = st.one_of(
    st.integers(-(2**65), 2**65),
    st.sampled_from(
        [edge + step for edge in (2**31, -(2**31), 2**63, -(2**63), 2**64) for step in (-1, 0, 1)]
    ),
    st.integers(10**300, 10**301),
)
_scalars = st.one_of(
    st.sampled_from(
        [
            "null",
            "true",
            "false",
            "-0",
            "1e5",
            "1E400",
            "-1.0e-400",
            "0.10",
            "1.0",
            "1e22",
            "9" * 5000,
        ]
    ),
    _integers.map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)
_space = st.sampled_from(["", "", "", " ", "\n\t"])


@st.composite
def _string_text(draw: st.DrawFn) -> str:
    """Return a JSON string, raw or with escapes in upper or lower case.

    Some strings end with a lone surrogate.
    """
    text = draw(_strings)
    raw = json.dumps(text, ensure_ascii=False)[1:-1]
    if draw(st.booleans()):
        units = text.encode("utf-16-be").hex()
        escapes = [units[i : i + 4] for i in range(0, len(units), 4)]
        raw = "".join("\\u" + (e.upper() if draw(st.booleans()) else e) for e in escapes)
    return f'"{raw}{draw(st.sampled_from(["", "", "", chr(92) + "ud800", chr(92) + "/"]))}"'


def _nested(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    @st.composite
    def members(draw: st.DrawFn) -> str:
        keys = draw(st.lists(_string_text(), max_size=4))  # keys can be equal
        items = [f"{key}{draw(_space)}:{draw(_space)}{draw(values)}" for key in keys]
        return "{" + draw(_space) + f"{draw(_space)},".join(items) + "}"

    arrays = st.lists(values, max_size=4).map(lambda items: f"[{','.join(items)}]")
    return members() | arrays


_json_texts = st.recursive(_scalars | _string_text(), _nested, max_leaves=12)


@st.composite
def _payloads(draw: st.DrawFn) -> bytes:
    text = draw(_space) + draw(_json_texts) + draw(_space)
    depth = draw(st.sampled_from([0, 0, 0, 1, MAX_NESTING - 1, MAX_NESTING, MAX_NESTING + 1, 200]))
    opening, closing = draw(st.sampled_from([("[", "]"), ('{"a":', "}"), ('{"$ref":', "}")]))
    return (opening * depth + text + closing * depth).encode()


def _stored_and_read(payload: bytes) -> dict[str, Any]:
    fields = payload_fields(payload)
    again = decoded(bson.encode(fields))
    assert payload_bytes(again) == payload == payload_bytes(fields)
    return again


@pytest.mark.parametrize("profile", PROFILES)
def test_a_json_text_is_stored_exactly_and_parsed_if_possible(
    profile: settings,
) -> None:
    @profile
    @given(_payloads())
    def check(payload: bytes) -> None:
        fields = _stored_and_read(payload)
        if "payloadBytes" in fields:
            assert fields["payloadEncoding"] == "json"
            assert _reencoded(fields) != payload
        elif fields["payloadEncoding"] == "json":
            assert fields["payload"] == json.loads(payload)

    check()


def _reencoded(fields: dict[str, Any]) -> bytes | None:
    return payload_bytes({name: value for name, value in fields.items() if name != "payloadBytes"})


@pytest.mark.parametrize("profile", PROFILES)
def test_any_bytes_are_stored_exactly(profile: settings) -> None:
    @profile
    @given(st.binary() | st.text().map(str.encode) | st.binary().map(lambda tail: b'{"a":"' + tail))
    def check(payload: bytes) -> None:
        fields = _stored_and_read(payload)
        if fields["payloadEncoding"] != "json":  # random bytes can be JSON, which is tested above
            assert fields["payload"] == (
                payload if fields["payloadEncoding"] == "binary" else payload.decode()
            )

    check()


@pytest.mark.parametrize(
    ("payload", "encoding", "stored"),
    [
        (
            b'{"campaignId":"c","amount":12345678901}',
            "json",
            {"campaignId": "c", "amount": 12345678901},
        ),
        (b'{"a": 1}', "json", {"a": 1}),
        (b'{"a":1,"a":2}', "json", {"a": 2}),
        (b'{"n":18446744073709551616}', "json", {"n": {"bigInteger": "18446744073709551616"}}),
        (b'{"$ref":"c","$id":1}', "json", {"\uff04ref": "c", "\uff04id": 1}),
        (b'{"\\u0024ref":"c","\\u0024id":1}', "json", {"\uff04ref": "c", "\uff04id": 1}),
        (b'{"a.b":{"c\\u002Ed":"$x.y"}}', "json", {"a\uff0eb": {"c\uff0ed": "$x.y"}}),
        (b'{"\\u0000":"\\u0000"}', "json", {"\u2400": "\0"}),
        (
            b'{"\\u0000":1,"\xe2\x90\x80":2}',
            "text",
            '{"\\u0000":1,"\u2400":2}',
        ),  # the keys would become equal
        (b'{"a":"\\ud800"}', "text", '{"a":"\\ud800"}'),
        (b"[1e400]", "text", "[1e400]"),
        (b"null", "text", "null"),
        (b"", "text", ""),
        (b'{"a":"\xff"}', "binary", b'{"a":"\xff"}'),
    ],
)
def test_a_payload_is_stored_in_this_form(payload: bytes, encoding: str, stored: object) -> None:
    fields = _stored_and_read(payload)
    assert (fields["payloadEncoding"], fields["payload"]) == (encoding, stored)
