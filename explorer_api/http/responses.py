"""Responses before and after encoding, their caching, and conditional requests."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from aiohttp import web
from msgspec import Struct
from multidict import CIMultiDict

from explorer_api.http.compression import CompressedBodies, acceptance
from explorer_api.schemas.encoding import encode_json

NO_STORE: Final = "no-store"
NO_CACHE: Final = "no-cache"
TEN_SECONDS: Final = "max-age=10"
HALF_A_MINUTE: Final = "max-age=30"
ONE_DAY: Final = "max-age=86400"
IMMUTABLE: Final = "max-age=31536000, immutable"
JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"

_OVERHEAD_BYTES: Final = 700
"""The approximate size of a response in memory besides its body."""

HEADERS: Final = web.RequestKey("headers", CIMultiDict[str])
"""The headers that every response to a request has; the middleware sets them."""


class ApiResponse(Struct, frozen=True):
    """A response as a handler returns it: a body that msgspec can encode, and the Cache-Control.

    This service caches a response while the ledger's head stays the same (an immutable response,
    while the chain stays the same), and at most for `seconds` if the body depends on more than the
    ledger. `etag` identifies a large body whose hash was computed already.
    """

    body: Any
    cache_control: str
    seconds: float | None = None
    content_type: str = JSON
    status: int = 200
    headers: Mapping[str, str] = {}
    etag: str | None = None


class EncodedResponse(Struct, frozen=True):
    """A response as bytes. Every cacheable response has an ETag."""

    body: bytes
    status: int
    headers: dict[str, str]
    etag: str | None
    seconds: float | None

    @property
    def immutable(self) -> bool:
        """Whether the response is valid for as long as the chain stays the same."""
        return self.headers["Cache-Control"] == IMMUTABLE

    @property
    def size(self) -> int:
        """The approximate number of bytes in memory."""
        return len(self.body) + _OVERHEAD_BYTES


class CacheHit(Struct, frozen=True):
    """A cached response, the path template of its route, and headers that tell the current head."""

    route: str
    response: EncodedResponse
    headers: Mapping[str, str]


def encode_response(response: ApiResponse) -> EncodedResponse:
    """Encode a response, and give it a strong ETag if it is cacheable."""
    body = response.body if isinstance(response.body, bytes) else encode_json(response.body)
    headers = {
        **response.headers,
        "Content-Type": response.content_type,
        "Cache-Control": response.cache_control,
    }
    etag = None
    if response.cache_control != NO_STORE:
        etag = response.etag or sha256(body).hexdigest()[:32]
        headers["ETag"] = f'"{etag}"'
    return EncodedResponse(body, response.status, headers, etag, response.seconds)


async def http_response(
    request: web.BaseRequest,
    response: EncodedResponse,
    compressed_bodies: CompressedBodies,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Return the response for aiohttp, with further `headers`, compressed if the client wants it.

    The status is 304 instead of 200 if the client has the same body already, compressed or not
    (RFC 9110 section 13.2.1). The ETag of a compressed body is weak: its bytes depend on the
    version of the compressor. Raises `ProblemError` if the client accepts no form of the body.
    """
    coding = acceptance(request).coding_for(len(response.body))
    all_headers = request[HEADERS].copy()
    all_headers.update(response.headers)
    if headers is not None:
        all_headers.update(headers)
    all_headers.add("Vary", "Accept-Encoding")
    if coding is not None and response.etag is not None:
        all_headers["ETag"] = f'W/"{response.etag}"'
    client_has_it = (
        response.etag is not None
        and "If-None-Match" in request.headers
        and _matches(request, response.etag, all_headers["ETag"])
    )
    if client_has_it and response.status == 200:
        return web.Response(status=304, headers=all_headers)
    body = response.body
    if coding is not None:
        all_headers["Content-Encoding"] = coding
        body = await compressed_bodies.get(body, response.etag, coding)
    return web.Response(status=response.status, body=body, headers=all_headers)


def _matches(request: web.BaseRequest, etag: str, header: str) -> bool:
    # The fast path is the usual case: parsing the header takes a tenth of the response time.
    if request.headers["If-None-Match"] == header:
        return True
    return any(sent.value in (etag, "*") for sent in request.if_none_match or ())
