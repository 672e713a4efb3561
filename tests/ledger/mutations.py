"""Damaged messages for property tests, made from recorded messages.

The damage is in any nested message. The lengths of the messages around it are corrected, so that a
decoder reaches the damage.
"""

from functools import cache, lru_cache

from hypothesis import strategies as st

from tests.ledger.recorded import NAMES, Json, recorded
from tests.ledger.wire_format import Field, Message, field, fields, serialize

_MAX_REPEATS = 300
_MAX_BYTES = 60_000


@cache
def envelopes() -> tuple[bytes, ...]:
    """Return recorded envelopes of different kinds.

    There is an envelope for each called function with each validation code, and for each
    configuration.
    """
    kinds: dict[tuple[str, int, str | int], bytes] = {}
    for name in NAMES:
        ledger = recorded(name)
        for raw, block, filtered in zip(
            ledger.blocks, ledger.decoded, ledger.filtered, strict=True
        ):
            envelopes_of_block = zip(
                Message(raw).message(2).each(1), block["data"]["data"], filtered["txs"], strict=True
            )
            for envelope, content, transaction in envelopes_of_block:
                kind = (
                    name,
                    transaction["code"],
                    _function(content["payload"]["data"]) or block["header"]["number"],
                )
                kinds.setdefault(kind, envelope)
    return tuple(envelope for envelope in kinds.values() if len(envelope) < _MAX_BYTES)


def _function(data: Json) -> str | None:
    for action in data.get("actions", ()):
        function: str = action["payload"]["chaincode_proposal_payload"]["input"]["chaincode_spec"][
            "input"
        ]["args"][0]
        return function
    return None


@cache
def metadata() -> tuple[tuple[bytes, ...], ...]:
    """Return the metadata of recorded blocks without the validation codes."""
    entries = [
        Message(raw).message(3).each(1) for name in NAMES for raw in recorded(name).blocks[::7]
    ]
    return tuple((*entry[:2], *entry[3:]) for entry in entries)


@st.composite
def damaged(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """Return messages with damage in one to three nested messages."""
    message = draw(messages)
    for _ in range(draw(st.integers(1, 3))):
        message = _damage(draw, message)
    return message


def _damage(draw: st.DrawFn, message: bytes) -> bytes:
    return _damage_at(draw, message, draw(st.sampled_from(_paths(message))))


@lru_cache(2048)
def _paths(message: bytes) -> tuple[tuple[int, ...], ...]:
    """Return the paths of all values in the message that have bytes.

    A path is the indexes of the fields that lead to the value. The path of the message is empty.
    """
    inside = [
        (index, *path)
        for index, (_, value) in enumerate(_fields_or_none(message) or ())
        if isinstance(value, bytes) and value
        for path in _paths(value)
    ]
    return ((), *inside)


def _damage_at(draw: st.DrawFn, message: bytes, path: tuple[int, ...]) -> bytes:
    entries = _fields_or_none(message)
    if entries and path:
        number, value = entries[path[0]]
        assert isinstance(value, bytes)
        entries[path[0]] = (number, _damage_at(draw, value, path[1:]))
        return serialize(entries)
    if entries and draw(st.booleans()):
        return _alter_fields(draw, entries)
    return _alter_bytes(draw, message)


def _fields_or_none(message: bytes) -> list[Field] | None:
    try:
        return fields(message)
    except ValueError:
        return None


def _alter_fields(draw: st.DrawFn, message: list[Field]) -> bytes:
    """Return the message after a change of one of its fields.

    The field is removed, moved, repeated many times, or gets another number, type or value.
    """
    at = draw(st.integers(0, len(message) - 1))
    number, value = message[at]
    other = draw(
        st.sampled_from(
            [
                b"",
                b"\xff",
                b"\0",
                b"$ref",
                draw(st.sampled_from(envelopes())),
                b"[" * 200,
                b'{"$id":1}',
            ]
        )
    )
    replacement: list[Field] = draw(
        st.sampled_from(
            [
                [],
                [message[at]] * draw(st.integers(2, _MAX_REPEATS)),
                [(number, other)],
                [(number, draw(st.sampled_from([0, 1, 2**31, 2**32, 2**63, 2**64 - 1])))],
                [(draw(st.integers(1, 20)), value)],
                [(number, field(number, value))],
            ]
        )
    )
    changed = message[:at] + message[at + 1 :]
    to = draw(st.integers(0, len(changed)))
    return serialize(changed[:to] + replacement + changed[to:])


def _alter_bytes(draw: st.DrawFn, message: bytes) -> bytes:
    """Return the message after a change of its bytes.

    A bit is flipped, bytes are removed, inserted or repeated, or the end is cut off.
    """
    at, to = sorted((draw(st.integers(0, len(message))), draw(st.integers(0, len(message)))))
    flipped = bytes([(message[at] if at < len(message) else 0) ^ 1 << draw(st.integers(0, 7))])
    return draw(
        st.sampled_from(
            [
                message[:at] + flipped + message[at + 1 :],
                message[:at] + message[to:],
                message[:at] + draw(st.binary(max_size=8)) + message[at:],
                message[:at],
                message[:at] + message[at:to] * 2 + message[to:],
                message[:to] + message[at:],
            ]
        )
    )
