"""Compressed bodies: what a client accepts (RFC 9110 section 12.5.3), and a cache of them.

Compression reveals nothing to an attacker who sees the size of responses (BREACH): responses
contain no secrets, and every client gets the same.
"""

import asyncio
import re
import zlib
from collections import OrderedDict
from enum import StrEnum
from functools import lru_cache, partial
from typing import Final

from aiohttp import web
from msgspec import Struct

from explorer_api.http.problems import ProblemError
from runtime.single_flight import SingleFlight
from runtime.zstd import zstd

MIN_BYTES: Final = 1024
"""A smaller body is not compressed: it fits into one packet anyway."""

_GZIP_LEVEL: Final = 1
"""Level 6 gives pages that are a tenth smaller, and takes two to three times as long."""
_GZIP_FORMAT: Final = 16 + zlib.MAX_WBITS
_ZSTD_LEVEL: Final = 1
"""Levels 2 to 5 give larger pages of transactions, and take longer. The window is at most 512 KB at
this level; RFC 9659 allows 8 MB."""
_THREAD_BYTES: Final = 1 << 16
"""A larger body is compressed in a thread: each megabyte takes up to 3 milliseconds."""
_CACHED_HEADERS: Final = 128

_CODING: Final = r"[!#$%&'*+.^_`|~0-9a-z-]+"
_WEIGHT: Final = r"[ \t]*;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)"
_MEMBER = re.compile(f"({_CODING})(?:{_WEIGHT})?")


class Coding(StrEnum):
    """A form of compression, with its name in HTTP; the preferred one is first."""

    ZSTD = "zstd"
    GZIP = "gzip"


class Acceptance(Struct, frozen=True):
    """The coding that a client wants, and whether it accepts a body without compression."""

    coding: Coding | None
    identity: bool

    def coding_for(self, size: int) -> Coding | None:
        """Return the coding for a body of so many bytes; None means without compression.

        Raises `ProblemError` if the client accepts no form of the body.
        """
        if self.coding is None and not self.identity:
            raise ProblemError(
                406,
                "encoding-not-acceptable",
                "Encoding not acceptable",
                "Accept-Encoding allows neither zstd, nor gzip, nor a body without compression.",
                "Send Accept-Encoding: zstd, gzip, or leave the header out.",
            )
        return self.coding if size >= MIN_BYTES or not self.identity else None


def acceptance(request: web.BaseRequest) -> Acceptance:
    """Return what the request accepts; without the header no compression is wanted."""
    return _read_acceptance(",".join(request.headers.getall("Accept-Encoding", ())))


@lru_cache(maxsize=_CACHED_HEADERS)
def _read_acceptance(header: str) -> Acceptance:
    """Return what an Accept-Encoding header accepts; members of it that are no codings are ignored.

    The highest weight decides; of equal weights, the order is zstd, gzip, identity. A coding that
    is not named has the weight of `*`. Without `*`, zstd and gzip are not accepted then, and
    identity is accepted last.
    """
    weights: dict[str, float] = {}
    for member in header.lower().split(","):
        match = _MEMBER.fullmatch(member.strip(" \t"))
        if match is not None:
            weights[match[1]] = float(match[2] or 1)
    others = weights.get("*")
    identity = weights.get("identity", others)
    if "x-gzip" in weights:
        weights.setdefault(Coding.GZIP, weights["x-gzip"])
    coding_weights = {coding: weights.get(coding, others or 0.0) for coding in Coding}
    coding = max(Coding, key=coding_weights.__getitem__)  # the first one of equal weights
    weight = coding_weights[coding]
    return Acceptance(
        coding=coding if weight > 0 and (identity is None or weight >= identity) else None,
        identity=identity is None or identity > 0,
    )


class CompressedBodies:
    """Compresses bodies, and caches those of cacheable responses up to `max_bytes` in total.

    A body is found by its ETag and coding: it stays valid when new blocks do not change it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bodies: OrderedDict[tuple[str, Coding], bytes] = OrderedDict()
        self._single_flight: SingleFlight[bytes] = SingleFlight()
        self.bytes = 0

    async def get(self, body: bytes, etag: str | None, coding: Coding) -> bytes:
        """Return the body in a coding; `etag` identifies it, or is None if it is not cacheable."""
        if etag is None:
            return await _compress(body, coding)
        key = etag, coding
        compressed = self._bodies.get(key)
        if compressed is not None:
            self._bodies.move_to_end(key)
            return compressed
        compressed = await self._single_flight.once(key, partial(_compress, body, coding))
        self._put(key, compressed)
        return compressed

    def _put(self, key: tuple[str, Coding], compressed: bytes) -> None:
        if key in self._bodies or len(compressed) > self._max_bytes // 4:
            return
        self._bodies[key] = compressed
        self.bytes += len(compressed)
        while self.bytes > self._max_bytes:
            self.bytes -= len(self._bodies.popitem(last=False)[1])


async def _compress(body: bytes, coding: Coding) -> bytes:
    compress = _zstd if coding is Coding.ZSTD else _gzip
    return compress(body) if len(body) <= _THREAD_BYTES else await asyncio.to_thread(compress, body)


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)
    return compressor.compress(body) + compressor.flush()


def _zstd(body: bytes) -> bytes:
    return zstd.compress(body, _ZSTD_LEVEL)
