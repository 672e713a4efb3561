"""Compressed bodies: what a client accepts (RFC 9110 section 12.5.3), and a cache of them.

Compression reveals nothing to an attacker who sees the size of responses (BREACH): responses
contain no secrets, and every client gets the same.
"""

import asyncio
import re
import zlib
from collections import OrderedDict
from functools import lru_cache, partial
from typing import Final

from aiohttp import web
from msgspec import Struct

from explorer_api.http.problems import ProblemError
from runtime.single_flight import SingleFlight

GZIP: Final = "gzip"
MIN_BYTES: Final = 1024
"""A smaller body is not compressed: it fits into one packet anyway."""

_LEVEL: Final = 1
"""Level 6 gives pages that are a tenth smaller, and takes two to three times as long."""
_GZIP_FORMAT: Final = 16 + zlib.MAX_WBITS
_THREAD_BYTES: Final = 1 << 16
"""A larger body is compressed in a thread: each megabyte takes about 3 milliseconds."""
_CACHED_HEADERS: Final = 128

_CODING: Final = r"[!#$%&'*+.^_`|~0-9a-z-]+"
_WEIGHT: Final = r"[ \t]*;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)"
_MEMBER = re.compile(f"({_CODING})(?:{_WEIGHT})?")


class Acceptance(Struct, frozen=True):
    """Whether a client wants gzip, and whether it accepts a body without compression."""

    gzip: bool
    identity: bool

    def compresses(self, size: int) -> bool:
        """Return whether a body of so many bytes is to be compressed.

        Raises `ProblemError` if the client accepts neither form.
        """
        if not self.gzip and not self.identity:
            raise ProblemError(
                406,
                "encoding-not-acceptable",
                "Encoding not acceptable",
                "Accept-Encoding allows neither gzip nor a body without compression.",
                "Send Accept-Encoding: gzip, or leave the header out.",
            )
        return self.gzip and (size >= MIN_BYTES or not self.identity)


def acceptance(request: web.BaseRequest) -> Acceptance:
    """Return what the request accepts; without the header no compression is wanted."""
    return _read_acceptance(",".join(request.headers.getall("Accept-Encoding", ())))


@lru_cache(maxsize=_CACHED_HEADERS)
def _read_acceptance(header: str) -> Acceptance:
    """Return what an Accept-Encoding header accepts; members of it that are no codings are ignored.

    The higher weight decides; with equal weights gzip is preferred. A coding that is not named has
    the weight of `*`. Without `*`, gzip is not accepted, and identity is accepted last.
    """
    weights: dict[str, float] = {}
    for member in header.lower().split(","):
        match = _MEMBER.fullmatch(member.strip(" \t"))
        if match is not None:
            weights[match[1]] = float(match[2] or 1)
    others = weights.get("*")
    gzip = weights.get(GZIP, weights.get("x-gzip", others or 0.0))
    identity = weights.get("identity", others)
    return Acceptance(
        gzip=gzip > 0 and (identity is None or gzip >= identity),
        identity=identity is None or identity > 0,
    )


class CompressedBodies:
    """Compresses bodies, and caches those of cacheable responses up to `max_bytes` in total.

    A body is found by its ETag, so that it stays valid when new blocks do not change it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._single_flight: SingleFlight[bytes] = SingleFlight()
        self.bytes = 0

    async def get(self, body: bytes, etag: str | None) -> bytes:
        """Return the body in gzip; `etag` identifies it, and is None if it is not to be cached."""
        if etag is None:
            return await _compress(body)
        compressed = self._bodies.get(etag)
        if compressed is not None:
            self._bodies.move_to_end(etag)
            return compressed
        compressed = await self._single_flight.once(etag, partial(_compress, body))
        self._put(etag, compressed)
        return compressed

    def _put(self, etag: str, compressed: bytes) -> None:
        if etag in self._bodies or len(compressed) > self._max_bytes // 4:
            return
        self._bodies[etag] = compressed
        self.bytes += len(compressed)
        while self.bytes > self._max_bytes:
            self.bytes -= len(self._bodies.popitem(last=False)[1])


async def _compress(body: bytes) -> bytes:
    return _gzip(body) if len(body) <= _THREAD_BYTES else await asyncio.to_thread(_gzip, body)


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)
    return compressor.compress(body) + compressor.flush()
