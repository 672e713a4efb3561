"""The steps that every request passes: request id, access control, rate limits, error handling.

A cached response is returned before a route is looked for.
"""

import re
import time
from collections.abc import Awaitable, Callable
from random import getrandbits
from typing import Final, TypeVar

import structlog
from aiohttp import web
from multidict import CIMultiDict

from explorer_api.http.access import (
    OPEN_PATHS,
    ClientAddresses,
    check_token,
    cors_headers,
    is_loopback,
    is_preflight,
    preflight_response,
)
from explorer_api.http.compression import CompressedBodies
from explorer_api.http.problems import ProblemError, problem_response
from explorer_api.http.rate_limits import RateLimiter
from explorer_api.http.request_metrics import ApiMetrics
from explorer_api.http.responses import HEADERS, CacheHit, http_response
from explorer_api.options import Options
from runtime.http_server import SECURITY_HEADERS

log = structlog.get_logger()

R = TypeVar("R", bound=web.BaseRequest)
Handler = Callable[[R], Awaitable[web.StreamResponse]]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_NO_ROUTE: Final = "none"
_CACHEABLE_METHODS: Final = frozenset({"GET", "HEAD"})
_CLIENT_GONE: Final = 499
_GENERAL_HEADERS: Final = CIMultiDict(SECURITY_HEADERS)


def general_headers(request_id: str) -> CIMultiDict[str]:
    """Return the headers that every response has."""
    headers = _GENERAL_HEADERS.copy()
    headers["X-Request-ID"] = request_id
    return headers


def new_request_id() -> str:
    """Return an id for a request that has none: unique, but not secret."""
    return f"{getrandbits(128):032x}"


class Middleware:
    """Checks requests, turns every failure into a problem, and counts the responses.

    `cached` returns the cached response to a raw path and query, if there is one.
    """

    def __init__(
        self,
        options: Options,
        limiter: RateLimiter | None,
        metrics: ApiMetrics,
        cached: Callable[[str], CacheHit | None],
        compressed_bodies: CompressedBodies,
    ) -> None:
        self._options, self._limiter, self._metrics = options, limiter, metrics
        self._cached, self._compressed_bodies = cached, compressed_bodies
        self._clients = ClientAddresses(options.trusted_proxies)

    async def handle(self, request: R, application: Handler[R]) -> web.StreamResponse:
        """Respond from the cache, or else let the application respond."""
        hit = self._cached(request.raw_path) if request.method in _CACHEABLE_METHODS else None
        if hit is None:
            return await application(request)

        async def respond(request: web.BaseRequest) -> web.Response:
            bodies = self._compressed_bodies
            return await http_response(request, hit.response, bodies, hit.headers)

        return await self._serve(request, respond, hit.route)

    @web.middleware
    async def middleware(
        self, request: web.Request, handler: Handler[web.Request]
    ) -> web.StreamResponse:
        """Respond to a request whose handler is known, also when the handler fails."""
        return await self._serve(request, handler, _route_template(request))

    async def _serve(self, request: R, handler: Handler[R], route: str) -> web.StreamResponse:
        started_at = time.perf_counter()
        sent_id = request.headers.get("X-Request-ID")
        has_valid_id = sent_id is not None and _REQUEST_ID.fullmatch(sent_id)
        headers = general_headers(sent_id if sent_id and has_valid_id else new_request_id())
        headers.update(cors_headers(request, self._options.cors_origins))
        request[HEADERS] = headers
        status = _CLIENT_GONE
        self._metrics.in_progress += 1
        try:
            response = await self._respond(request, handler, headers, route)
            status = response.status
            if not response.prepared and "X-Request-ID" not in response.headers:
                for name, value in headers.items():
                    response.headers.setdefault(name, value)
            return response
        finally:
            self._metrics.in_progress -= 1
            seconds = time.perf_counter() - started_at
            self._metrics.count_response(route, request.method, status, seconds)

    async def _respond(
        self, request: R, handler: Handler[R], headers: CIMultiDict[str], route: str
    ) -> web.StreamResponse:
        try:
            if self._options.cors_origins and is_preflight(request):
                return preflight_response(headers)
            if request.path not in OPEN_PATHS:
                if self._options.token_digests:
                    check_token(request, self._options.token_digests)
                if self._limiter is not None:
                    await self._limit_rate(request, self._limiter, route)
            return await handler(request)
        except ProblemError as problem:
            if problem.name == "building-indexes":
                self._metrics.index_waits.inc()
            return problem_response(problem, headers["X-Request-ID"])
        except web.HTTPException as error:
            return problem_response(_http_problem(error), headers["X-Request-ID"])
        except Exception:  # the log has the details, the client gets the request id
            log.exception(
                "request_failed",
                request_id=headers["X-Request-ID"],
                method=request.method,
                route=route,
            )
            return problem_response(_internal_error(), headers["X-Request-ID"])

    async def _limit_rate(self, request: web.BaseRequest, limiter: RateLimiter, route: str) -> None:
        client = self._clients.address(request)
        if is_loopback(client):
            return
        try:
            await limiter.count(client, route)
        except ProblemError:
            self._metrics.rate_limited.inc()
            raise


def _route_template(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else _NO_ROUTE


def _http_problem(error: web.HTTPException) -> ProblemError:
    if isinstance(error, web.HTTPMethodNotAllowed):
        return ProblemError(
            405,
            "method-not-allowed",
            "Method not allowed",
            f"{error.method} is not allowed: this API only reads.",
            "Use GET or HEAD.",
            headers={"Allow": ", ".join(sorted(error.allowed_methods))},
        )
    if error.status == 404:
        return ProblemError(
            404,
            "route-not-found",
            "Route not found",
            "No route has this path.",
            "/docs lists the routes; most begin with /api/v1, for example /api/v1/channels.",
        )
    return ProblemError(
        error.status,
        "http-error",
        error.reason,
        f"The request was refused: {error.reason}.",
        "Check the request.",
    )


def _internal_error() -> ProblemError:
    return ProblemError(
        500,
        "internal-error",
        "Internal error",
        "The request failed because of a fault in this program.",
        "Tell the operator the requestId; the log has the details.",
    )
