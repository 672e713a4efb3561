"""Answers, and what is kept of them: bytes with their ETag, and how long they hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from aiohttp import web
from msgspec import Struct
from multidict import CIMultiDict

from explorer_api.live.heads import HeadSnapshot
from explorer_api.schemas.encoding import encode_json

NO_STORE: Final = "no-store"
NO_CACHE: Final = "no-cache"
ONE_DAY: Final = "max-age=86400"
IMMUTABLE: Final = "max-age=31536000, immutable"
JSON: Final = "application/json"

HEADERS: Final = web.RequestKey("headers", CIMultiDict[str])
"""What every answer to a request has among its headers, whatever it is."""


@dataclass(frozen=True)
class ApiResponse:
    """What to answer: anything msgspec encodes, and the Cache-Control. Whatever may be kept has an ETag.

    The service keeps an answer for as long as the ledger shows the same head (an immutable one, the same chain), and
    for no more than `seconds` where it depends on more than the ledger.
    """

    body: Any
    caching: str
    seconds: float | None = None
    content_type: str = JSON
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class EncodedResponse(Struct, frozen=True):
    """An answer as bytes."""

    body: bytes
    status: int
    headers: dict[str, str]
    etag: str | None
    seconds: float | None

    @property
    def immutable(self) -> bool:
        """Whether it holds for as long as the chain is the same."""
        return self.headers["Cache-Control"] == IMMUTABLE

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return len(self.body) + 700


def encode_response(answer: ApiResponse) -> EncodedResponse:
    """Encodes an answer, and gives it a strong ETag if it may be kept."""
    body = answer.body if isinstance(answer.body, bytes) else encode_json(answer.body)
    headers = {
        **answer.headers,
        "Content-Type": answer.content_type,
        "Cache-Control": answer.caching,
    }
    etag = None
    if answer.caching != NO_STORE:
        etag = sha256(body).hexdigest()[:32]
        headers["ETag"] = f'"{etag}"'
    return EncodedResponse(body, answer.status, headers, etag, answer.seconds)


def http_response(
    request: web.BaseRequest, rendered: EncodedResponse, standing: HeadSnapshot | None
) -> web.Response:
    """The response: 304 instead of 200 if the client has that body already (RFC 9110 section 13.2.1)."""
    headers = request[HEADERS].copy()
    headers.update(rendered.headers)
    if standing is not None:
        headers.update(standing.headers)
    known = (
        rendered.etag is not None
        and "If-None-Match" in request.headers
        and _is_known(request, rendered.etag)
    )
    if known and rendered.status == 200:
        return web.Response(status=304, headers=headers)
    return web.Response(status=rendered.status, body=rendered.body, headers=headers)


def _is_known(request: web.BaseRequest, etag: str) -> bool:
    if (
        request.headers["If-None-Match"] == f'"{etag}"'
    ):  # as nearly always; parsing it takes a tenth of the answer
        return True
    return any(known.value in (etag, "*") for known in request.if_none_match or ())
