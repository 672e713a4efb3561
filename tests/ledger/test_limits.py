"""Documents that are too large for MongoDB: values are omitted, but only as many as necessary."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from ledger.documents.payloads import payload_bytes, payload_fields
from ledger.documents.size_limit import MAX_DOCUMENT_BYTES, fit_to_size_limit
from tests.ledger import forging
from tests.ledger.hypothesis_profiles import PROFILES, with_fewer_examples
from tests.ledger.invariants import decoded, encode
from tests.ledger.wire_format import field

_MIB = 1 << 20
_sizes = st.integers(_MIB, 9 * _MIB) | st.sampled_from([0, 1000, 3000])
_values = st.tuples(st.sampled_from(["é", "x", b"\0"]), _sizes)
"""A character and the number of its repetitions."""


class _Recipe(Struct):
    """A short description of a document, which Hypothesis can print."""

    tx_id_size: int
    args: list[tuple[str | bytes, int]]
    response: tuple[str | bytes, int]
    payload: tuple[str, int] | None
    reads: int

    def document(self) -> dict[str, Any]:
        character, count = self.response
        document = {
            "_id": 1,
            "txId": "x" * self.tx_id_size,
            "args": [character * count for character, count in self.args],
            "response": {"payload": character * count},
            "reads": [{"key": "k" * 100}] * self.reads,
        }
        if self.payload is not None:
            before, size = self.payload
            document |= payload_fields(before.encode() + b'{"a":["' + b"p" * size + b'"],"b":1}')
        return document


_recipes = st.builds(
    _Recipe,
    tx_id_size=st.sampled_from([64, 65536]),
    args=st.lists(_values, min_size=2, max_size=5),
    response=_values,
    payload=st.none() | st.tuples(st.sampled_from(["", " ", "text"]), _sizes),
    reads=st.sampled_from([0, 3, 120_000]),
)


@pytest.mark.parametrize("profile", PROFILES)
def test_large_values_are_omitted_until_the_document_is_within_the_limit(profile: settings) -> None:
    @with_fewer_examples(profile)
    @given(_recipes)
    def check(recipe: _Recipe) -> None:
        document, fitted = recipe.document(), fit_to_size_limit(recipe.document())
        encoded = bson.encode(fitted)
        assert bson.encode(fit_to_size_limit(recipe.document())) == encoded
        assert len(encoded) <= MAX_DOCUMENT_BYTES
        if len(bson.encode(document)) <= MAX_DOCUMENT_BYTES:
            assert fitted == document
        assert fitted["txId"] == document["txId"]
        omitted = list(_omissions(document, fitted))
        for value, omission in omitted:
            data = value.encode() if isinstance(value, str) else value
            if isinstance(data, bytes):
                assert omission == {
                    "omitted": True,
                    "sha256": sha256(data).hexdigest(),
                    "size": len(data),
                }
        sizes = [_size(value) for value, _ in omitted]
        if sizes:  # each omission was necessary
            assert len(encoded) + min(sizes) > MAX_DOCUMENT_BYTES
        if not any(isinstance(value, list) for value, _ in omitted):
            assert all(
                _size(value) <= min(sizes, default=_size(value)) for value in _large_values(fitted)
            )
        if "payload" in document:
            exact = payload_bytes(document)
            assert exact is not None
            assert payload_bytes(fitted) in (exact, None)
            if payload_bytes(fitted) is None:
                assert fitted["payload"]["sha256"] == sha256(exact).hexdigest()

    check()


def _omissions(original: Any, fitted: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    if isinstance(fitted, dict) and fitted.get("omitted") is True:
        yield original, fitted
        return
    if isinstance(original, dict):
        assert original.keys() == fitted.keys()
        for key in original:
            yield from _omissions(original[key], fitted[key])
    elif isinstance(original, list):
        for item, fitted_item in zip(original, fitted, strict=True):
            yield from _omissions(item, fitted_item)
    else:
        assert original == fitted


def _large_values(value: Any, path: str = "") -> Iterator[str | bytes]:
    if isinstance(value, str | bytes):
        if _size(value) > 1100 and path != "/txId":
            yield value
    elif isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _large_values(item, f"{path}/{key}")


def _size(value: Any) -> int:
    return len(bson.encode({"": value})) - 7


@pytest.mark.parametrize(
    "payload",
    [
        b"[" + b"[]," * 10_000 + b"[]]",
        b"[" + b"1," * 10_000 + b"1]",
        b'{"text":"' + b"x" * 1_000_000 + b'"}',
    ],
    ids=["empty lists", "numbers", "text"],
)
def test_a_parsed_payload_is_never_omitted(payload: bytes) -> None:
    event = payload_fields(payload)
    assert event["payloadEncoding"] == "json"
    for long_list in (["x" * (9 * _MIB)], ["x" * 1000] * 8000):
        fitted = fit_to_size_limit(
            {"txId": "a", "args": list(long_list), "endorsers": list(long_list), "event": event}
        )
        assert len(bson.encode(fitted)) <= MAX_DOCUMENT_BYTES
        assert payload_bytes(fitted["event"]) == payload


def test_a_payload_with_very_many_values_stays_text() -> None:
    """Each value could be an entry of an index, and MongoDB holds all entries in its cache."""
    payload = b"[" + b"1," * 10_001 + b"1]"
    assert payload_fields(payload) == {"payload": payload.decode(), "payloadEncoding": "text"}


def test_a_payload_that_is_too_large_to_be_parsed_stays_text_or_is_omitted() -> None:
    for size in (2 * _MIB, 17 * _MIB):
        payload = b'{"text":"' + b"x" * size + b'"}'
        encoded = encode(
            forging.block([forging.envelope(forging.action(event=forging.event(payload)))], b"\0")
        )
        event = decoded(encoded.events[0].raw)
        assert event["payloadEncoding"] == "text"
        omission = {"omitted": True, "sha256": sha256(payload).hexdigest(), "size": len(payload)}
        assert event["payload"] == (payload.decode() if size == 2 * _MIB else omission)


def test_ids_and_validation_codes_are_never_omitted() -> None:
    """Ids connect the collections, and validation codes identify a block."""
    tx_id = "x" * 65536
    args = b"".join(field(1, b"a" * 60_000) for _ in range(300))
    raw = forging.block([forging.envelope(forging.action(args=args), tx_id=tx_id)])
    transaction = decoded(encode(raw).transactions[0].raw)
    assert transaction["txId"] == tx_id
    names = [b"%04d" % i + b"n" * 3900 for i in range(4100)]
    named = [forging.envelope(b"", extension=field(2, field(2, name))) for name in names]
    block = decoded(encode(forging.block(named)).block.raw)
    assert block["validationCodes"] == bytes([255]) * 4100
    assert any(isinstance(entry["name"], dict) for entry in block["sums"]["chaincodes"])
