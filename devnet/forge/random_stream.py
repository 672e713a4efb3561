"""Deterministic pseudo-random values: the only source of randomness of the forger.

Python's `random` guarantees equal sequences between versions only for `random()`. A hash function
guarantees them for all values.
"""

from collections.abc import Sequence
from hashlib import shake_256
from typing import TypeVar

T = TypeVar("T")

_CHUNK_BYTES = 8192


class RandomStream:
    """A stream of pseudo-random bytes that depends on its label alone."""

    def __init__(self, label: str) -> None:
        self._label = label.encode()
        self._chunk = b""
        self._position = 0
        self._chunks = 0

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes, at most 8192."""
        end = self._position + count
        if end > len(self._chunk):
            self._chunk = shake_256(b"%d/%b" % (self._chunks, self._label)).digest(_CHUNK_BYTES)
            self._chunks += 1
            self._position, end = 0, count
        taken = self._chunk[self._position : end]
        self._position = end
        return taken

    def nonce(self) -> bytes:
        """Return 24 bytes, the nonce length of Fabric's clients."""
        return self.take(24)

    def below(self, limit: int) -> int:
        """Return an integer from 0 to `limit` - 1; its bias is below 2^-32 up to 2^32."""
        return int.from_bytes(self.take(8), "big") % limit

    def chance(self, share: float) -> bool:
        """Return True with the probability `share`."""
        return int.from_bytes(self.take(8), "big") < share * 2**64

    def pick(self, options: Sequence[T]) -> T:
        """Return one of `options`, which must not be empty."""
        return options[self.below(len(options))]
