"""Mutations of serialized messages and of JSON, from a seeded random generator.

They are many times faster than the mutations for hypothesis, and also write what no writer of
protocol buffers writes: overlong integers, groups, unknown fields, and wrong wire types.
"""

import json
from random import Random

from tests.ledger.wire_format import Value, field, fields, varint

INTEGERS = [
    *(0, 1, 2, 3, 4, 127, 128, 255, 256, 999_999_999, 1_000_000_000, 1_000_001),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 3, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 2),
    *(253_402_300_799, 253_402_300_800, 2**64 - 62_135_596_800, 2**64 - 62_135_596_801),
]
TEXTS = [
    *(
        b"",
        b"\0",
        b"$ref",
        b"a.b",
        b"_lifecycle",
        b"_",
        b"\x7f",
        b'"',
        b"\\",
        "é\u2028\uffff".encode(),
    ),
    *(b"\xc0\x80", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xed\x9f\xbf", b"\xe2\x82"),
    *(b"\xf0\x8f\xbf\xbf", b"\xf4\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\x80"),
    *(b"abcdefg\xff", b"abcdefgh\xc3", b"abcdefghijklmno\xe2\x82\xac", b"\xf0\x9f\x98"),
]
_UNKNOWN = [
    *(b"\x4b\x08\x01\x4c", b"\x0b\x0c", b"\x0b", b"\x0c", b"\x0e", b"\x0f", b"\0\0", b"\x00"),
    *(b"\x09" + bytes(8), b"\x0d" + bytes(4), b"\x4d" + bytes(4), b"\x51" + bytes(8), b"\x51\0"),
    *(field(99, b"unknown"), field(2**29 - 1, 1), varint(2**32 | 8) + b"\1", b"\x80" * 11),
    *(b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x0a\x05abc"),
    *(b"\x08" + b"\xff" * 9 + b"\x01", b"\x08" + b"\xff" * 8 + b"\x7f", b"\x08" + b"\xff" * 10),
]


def mutated(random: Random, message: bytes) -> bytes:
    """Return the message after one to three mutations, each in any of its nested messages."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        message = _mutate_inside(random, message)
    return message


def _mutate_inside(random: Random, message: bytes) -> bytes:
    entries = _fields_or_none(message)
    nested = [at for at, (_, value) in enumerate(entries) if isinstance(value, bytes) and value]
    if not entries or (not nested and random.random() < 0.2):
        return _mutate_bytes(random, message)
    encoded = [field(number, value) for number, value in entries]
    if not nested or random.random() < 0.1:
        return _mutate_fields(random, encoded)
    at = random.choices(nested, random.choice((None, [len(encoded[at]) for at in nested])))[0]
    number, value = entries[at]
    assert isinstance(value, bytes)
    encoded[at] = field(number, _mutate_inside(random, value))
    return b"".join(encoded)


def _fields_or_none(message: bytes) -> list[tuple[int, Value]]:
    try:
        return fields(message)
    except ValueError:
        return []


def _mutate_fields(random: Random, encoded: list[bytes]) -> bytes:
    """Return the message after a change of one of its fields, which are given encoded."""
    at = random.randrange(len(encoded))
    ((number, value),) = fields(encoded[at])
    changes = [
        [],
        [encoded[at]] * random.choice((2, 2, 3, 200)),
        [encoded[at], random.choice(_UNKNOWN)],
        [random.choice(_UNKNOWN), encoded[at]],
        [field(random.choice((*range(1, 10), 16)), value)],
        [field(number, random.choice(INTEGERS))],
        [field(number, random.choice(TEXTS))],
        [field(number, field(number, value))],
        [_overlong_field(random, number, value)],
        [encoded[at], field(number, random.choice(INTEGERS) if isinstance(value, int) else b"")],
        [varint(number << 3 | random.choice((1, 3, 4, 5, 6, 7))) + b"12345678"],
    ]
    encoded[at : at + 1] = random.choice(changes)
    if random.random() < 0.2:
        random.shuffle(encoded)
    return b"".join(encoded)


def _overlong_field(random: Random, number: int, value: Value) -> bytes:
    """Return a field whose tag, length or value has more bytes than it needs."""
    wire_type, integer = (0, value) if isinstance(value, int) else (2, len(value))
    content = b"" if isinstance(value, int) else value
    tag_bytes, value_bytes = random.choice(((0, 1), (1, 0), (1, 1)))
    tag = overlong_varint(number << 3 | wire_type, random.randint(2, 11) * tag_bytes)
    return tag + overlong_varint(integer, random.randint(2, 11) * value_bytes) + content


def overlong_varint(number: int, size: int) -> bytes:
    """Return an unsigned integer in at least `size` bytes."""
    encoded = varint(number)
    if len(encoded) >= size:
        return encoded
    head, last = encoded[:-1], encoded[-1]
    return head + bytes([last | 0x80]) + b"\x80" * (size - len(encoded) - 1) + b"\0"


def _mutate_bytes(random: Random, data: bytes) -> bytes:
    """Return the bytes after a change: a flipped bit, a cut, a repeated, removed or new part."""
    at, to = sorted((random.randint(0, len(data)), random.randint(0, len(data))))
    flipped = bytes([(data[at] if at < len(data) else 0) ^ 1 << random.randrange(8)])
    return random.choice(
        [
            data[:at] + flipped + data[at + 1 :],
            data[:at] + random.choice(TEXTS) + data[at:],
            data[:at] + random.randbytes(random.randint(1, 4)) + data[to:],
            data[:at],
            data[:at] + data[at:to] * 2 + data[to:],
            random.choice(TEXTS),
            json_payload(random, 0.2),
        ]
    )


def json_payload(random: Random, odd: float) -> bytes:
    """Return JSON; `odd` is the share of values that most programs do not write, from 0 to 1."""
    value = _json_value(random, 3, odd)
    for _ in range(random.choice((0, 0, 0, 1, 13, 14, 15, 16, 17))):
        value = random.choice(([value], {"a": value}))
    separators = (", ", ": ") if random.random() < odd else (",", ":")
    text = json.dumps(value, separators=separators, ensure_ascii=random.random() < odd)
    data = text.encode("utf-8", "surrogatepass")
    if random.random() < odd:
        at = random.randint(0, len(data))
        data = data[:at] + random.choice(_JSON_PARTS) + data[at + random.randint(0, 1) :]
    return data


_JSON_PARTS = [*(bytes([each]) for each in b'0-1"{}[],:.e\\ \xff'), b'"":1,', b""]
_JSON_INTEGERS = [0, 1, -1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 10**17, 10**18 - 1]
_ODD_INTEGERS = [10**18, 10**19 - 1, 10**19, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1]


def _json_value(random: Random, depth: int, odd: float) -> object:
    kind = random.randrange(8 if depth else 4)
    if kind == 0:
        return random.choice(
            (0.5, 1e30, -0.0, 1.0) if random.random() < odd else (None, True, False)
        )
    if kind == 1:
        return random.choice(_ODD_INTEGERS if random.random() < odd else _JSON_INTEGERS)
    if kind in (2, 3):
        return _json_text(random, odd)
    if kind == 4:
        return [None] * random.choice((0, 11, 101))
    values = [_json_value(random, depth - 1, odd) for _ in range(random.choice((0, 1, 2, 3)))]
    if kind == 5:
        return values
    several = range(random.choice((0, 0, 0, 31, 32, 33)))
    return {
        **{_json_text(random, odd): value for value in values},
        **{str(number): None for number in several},
    }


def _json_text(random: Random, odd: float) -> str:
    if random.random() < odd:
        return random.choice(TEXTS).decode(errors="surrogateescape")
    return random.choice(("", "a", "b", "name", "a b", "é", "\x7f", "\u2028\U0010ffff", "[{"))
