"""The extension stays usable after an error in the functions that it calls, and keeps no memory."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import bson
import pytest

from ledger.state_changes import Write
from tests.ledger import forging
from tests.ledger.encoders import required_compiled
from tests.ledger.wire_format import field

Result = tuple[bytes, bytes, int, list[str], list[str], list[int], bytes | list[Write] | None]
_DATA = forging.action(event=forging.event(b"text"), result_fields=field(4, field(2, b"chaincode")))
_COMMON = forging.envelope(_DATA, creator=field(1, b"Org1MSP"))
_OTHER = forging.envelope(b"\xff")


class _Callbacks:
    """The functions that the extension calls; each calls `before` with its own name first."""

    def __init__(self, before: Callable[[str], object] = lambda _: None) -> None:
        from ledger.compiled._blocks import TransactionEncoder  # noqa: PLC0415 - may be absent

        self.before = before
        self._encoder = TransactionEncoder(
            statuses=[b"STATUS"] * 256,
            type_name=b"TYPE",
            format=1,
            max_writes=10,
            identity=self._identity,
            payload=self._payload,
            hash_key=bytes(16),
        )

    def encode(self, envelopes: tuple[bytes, ...] = (_COMMON, _OTHER, _COMMON)) -> Result:
        count = len(envelopes)
        return self._encoder.encode(
            7, envelopes, bytes(count), [True] * count, bytes(32 * count), self._reference
        )

    def take_writes(self) -> list[Write]:
        return self._encoder.take_writes()

    def _identity(self, serialized: bytes) -> tuple[str, bytes]:
        self.before("identity")
        return "Org1MSP", bson.encode({"serialized": serialized})

    def _payload(self, payload: bytes) -> bytes:
        self.before("payload")
        return bson.encode({"payload": payload})

    def _reference(self, index: int) -> tuple[bytes, bytes]:
        self.before("reference")
        return bson.encode({"_id": index}), bson.encode({"event": index})


@pytest.fixture(autouse=True)
def _needs_extension() -> None:
    required_compiled()


def _raise_at(wanted: str, error: Exception, name: str) -> None:
    if name == wanted:
        raise error


@pytest.mark.parametrize("name", ["identity", "payload", "reference"])
def test_an_error_in_a_function_is_raised_and_the_next_block_is_encoded(name: str) -> None:
    expected = _Callbacks().encode()
    callbacks = _Callbacks(partial(_raise_at, name, LookupError("lost")))
    with pytest.raises(LookupError, match="lost"):
        callbacks.encode()
    callbacks.before = lambda _: None
    assert callbacks.encode() == expected


@pytest.mark.parametrize("name", ["identity", "payload", "reference"])
def test_a_second_block_at_the_same_time_is_refused(name: str) -> None:
    callbacks = _Callbacks()
    callbacks.before = lambda called: called == name and callbacks.encode()
    with pytest.raises(RuntimeError, match="used by another thread"):
        callbacks.encode()


@pytest.mark.parametrize("wrong", [None, "text", bytearray(b"bytes")])
def test_an_envelope_must_be_bytes(wrong: object) -> None:
    callbacks = _Callbacks()
    with pytest.raises(TypeError):
        callbacks.encode((_COMMON, wrong))  # type: ignore[arg-type]
    assert callbacks.encode((_COMMON,)) == _Callbacks().encode((_COMMON,))


def _errors() -> Iterator[Callable[[str], object]]:
    yield lambda _: None
    for name in ("identity", "payload", "reference"):
        yield partial(_raise_at, name, LookupError())


def test_no_object_is_kept_after_a_block() -> None:
    callbacks = _Callbacks()

    def use(times: int) -> int:
        for _ in range(times):
            for before in _errors():
                callbacks.before = before
                with suppress(LookupError):
                    callbacks.encode()
        gc.collect()  # an error and its traceback refer to each other
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = use(10)
        assert use(1_000) - before < 1_000, "less than one byte for each block"
    finally:
        tracemalloc.stop()


def test_writes_can_be_taken_by_the_reference_only() -> None:
    callbacks = _Callbacks()
    taken: list[list[Write]] = []

    def take_at(wanted: str, name: str) -> None:
        if name == wanted:
            taken.append(callbacks.take_writes())

    with pytest.raises(RuntimeError, match="reference"):
        callbacks.take_writes()
    callbacks.before = partial(take_at, "reference")
    callbacks.encode()
    assert taken == [[]]
    callbacks.before = partial(take_at, "identity")
    other = forging.envelope(_DATA, creator=field(1, b"Org2MSP"))
    with pytest.raises(RuntimeError, match="reference"):
        callbacks.encode((other,))
