"""Envelopes in the common form, or almost, with random parts."""

from collections.abc import Callable
from random import Random

from tests.ledger import forging
from tests.ledger.seeded_mutations import INTEGERS, TEXTS, json_payload
from tests.ledger.wire_format import field

CREATOR = field(1, b"Org1MSP") + field(2, b"certificate")


def made_envelope(
    tx_id: str = "id",
    *,
    creator: bytes = CREATOR,
    payload: bytes = b"{}",
    chaincode: bytes = b"chaincode",
    timestamp: bytes | None = None,
    response: bytes = b"",
    args: bytes = b"",
    results: bytes = b"",
    endorsements: bytes = b"",
) -> bytes:
    """Return an envelope in the common form, if its parts are."""
    data = forging.action(
        args=args,
        results=results,
        event=forging.event(payload),
        result_fields=response + field(4, field(2, chaincode) + field(3, b"1.0")),
        endorsements=endorsements,
    )
    return forging.envelope(data, tx_id=tx_id, timestamp=timestamp, creator=creator)


class RandomEnvelopes:
    """Makes envelopes whose parts are chosen by a random generator."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._one_of = random.choice
        self._odd = 0.0
        """The share of parts of an envelope that an honest client does not send, from 0 to 1."""

    def envelope(self) -> bytes:
        self._odd = self._one_of((0, 0.01, 0.1))
        return made_envelope(
            self._one_of(("id", "", "é", "i" * 20)),
            creator=self._identity(),
            payload=self._one_of((b"", self._text(), *[json_payload(self._random, self._odd)] * 2)),
            chaincode=self._one_of((b"chaincode", self._text())),
            timestamp=self._one_of((None, b"", *[self._timestamp()] * 3)),
            response=self._maybe(field(3, self._response())),
            args=self._some(1, self._bytes) + self._maybe(field(3, self._integer())),
            results=field(1, self._integer()) + self._some(2, self._namespace),
            endorsements=self._some(2, self._endorsement),
        )

    def _some(self, number: int, make: Callable[[], bytes]) -> bytes:
        """Return a field with this number several times, or not at all."""
        count = self._one_of((0, 1, 1, 2, 2, 12))
        return b"".join(field(number, make()) for _ in range(count))

    def _maybe(self, encoded: bytes) -> bytes:
        return self._one_of((b"", encoded))

    def _is_odd(self) -> bool:
        return self._random.random() < self._odd

    def _integer(self) -> int:
        return self._one_of(INTEGERS if self._is_odd() else (0, 1, 2**31 - 1, 2**31, 2**32 + 3))

    def _text(self) -> bytes:
        return self._one_of(TEXTS if self._is_odd() else (b"text", b"", b"\0", "é€😀".encode()))

    def _bytes(self) -> bytes:
        return self._one_of((b"", b"text", b"\xff\0", self._random.randbytes(3), *TEXTS))

    def _timestamp(self) -> bytes:
        nanos = self._one_of((0, 999_999, 1_500_000, 999_999_999, 1_000_000_000, self._integer()))
        seconds = self._one_of((1_700_000_000, 253_402_300_799, 253_402_300_800, self._integer()))
        return field(1, seconds) + field(2, nanos)

    def _response(self) -> bytes:
        status = self._one_of((200, 2**31 - 1, 2**31, self._integer()))
        return (
            field(1, status)
            + self._maybe(field(2, self._text()))
            + self._maybe(field(3, self._bytes()))
        )

    def _endorsement(self) -> bytes:
        return field(1, self._identity()) + field(2, self._bytes())

    def _identity(self) -> bytes:
        if self._is_odd():
            return self._one_of((b"", self._random.randbytes(5), *TEXTS))
        return self._one_of(
            (
                CREATOR,
                field(1, self._text()) + field(2, self._bytes()),
                field(1, b"Idemix") + field(2, field(1, b"x") + field(2, b"y")),
                field(1, self._random.randbytes(4).hex().encode()),
                field(1, b"m" * self._one_of((10, 8_180, 8_189, 8_190))),
            )
        )

    def _namespace(self) -> bytes:
        """Return a read/write set of a namespace with all kinds of elements."""
        elements = self._some(1, self._read) + self._some(3, self._write)
        if self._is_odd():
            elements += field(4, self._metadata_write())
        return (
            field(1, self._text())
            + field(2, elements + self._maybe(self._some(2, self._range_query)))
            + self._maybe(self._some(3, self._collection))
        )

    def _version(self) -> bytes:
        version = self._maybe(field(1, self._integer())) + self._maybe(field(2, self._integer()))
        return self._maybe(field(2, version))

    def _read(self) -> bytes:
        return field(1, self._text()) + self._version()

    def _write(self) -> bytes:
        deleted = field(2, self._one_of((0, 1, 2**32)))
        return field(1, self._text()) + self._maybe(deleted) + self._maybe(field(3, self._bytes()))

    def _range_query(self) -> bytes:
        reads = self._maybe(field(4, self._some(1, self._read)))
        if self._is_odd():
            reads = field(5, field(1, self._integer()))
        bounds = field(1, self._text()) + field(2, self._text())
        return bounds + field(3, self._random.randrange(2)) + reads

    def _collection(self) -> bytes:
        hashed = self._some(1, self._hashed_read) + self._some(2, self._hashed_write)
        if self._is_odd():
            hashed += field(3, self._metadata_write())
        return field(1, self._text()) + field(2, hashed) + self._maybe(field(3, self._bytes()))

    def _metadata_write(self) -> bytes:
        return field(1, self._text()) + field(2, field(1, b"name") + field(2, self._bytes()))

    def _hashed_read(self) -> bytes:
        return field(1, self._random.randbytes(4)) + self._version()

    def _hashed_write(self) -> bytes:
        value = self._one_of((b"", field(2, 1), field(3, b"v"), field(3, b"") + field(4, 1)))
        return field(1, self._random.randbytes(4)) + value
