"""What every request passes, answered from memory or not: a request id, security headers, tokens, rates, problems."""

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
from explorer_api.http.problems import ProblemError, problem_response
from explorer_api.http.rate_limits import RateLimiter
from explorer_api.http.request_metrics import ApiMetrics
from explorer_api.http.responses import HEADERS, http_response
from explorer_api.live.response_cache import ResponseCache
from explorer_api.options import Options

log = structlog.get_logger()

R = TypeVar("R", bound=web.BaseRequest)
Handler = Callable[[R], Awaitable[web.StreamResponse]]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_NO_ROUTE: Final = "none"
_READS: Final = frozenset({"GET", "HEAD"})


SECURITY_HEADERS: Final = CIMultiDict(
    {
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Server": "kindledger",
    }
)


def general_headers(request_id: str) -> CIMultiDict[str]:
    """What every answer has among its headers."""
    headers = SECURITY_HEADERS.copy()
    headers["X-Request-ID"] = request_id
    return headers


def new_request_id() -> str:
    """A name for a request that brings none; unique, not secret."""
    return f"{getrandbits(128):032x}"


class Middleware:
    """Lets requests in, turns every failure into a problem, and adds what does not depend on the answer."""

    def __init__(
        self,
        options: Options,
        limiter: RateLimiter | None,
        metrics: ApiMetrics,
        cache: ResponseCache,
    ) -> None:
        self._options, self._limiter, self._metrics, self._cache = options, limiter, metrics, cache
        self._clients = ClientAddresses(options.trusted_proxies)

    async def handle(self, request: R, application: Handler[R]) -> web.StreamResponse:
        """Answers from memory before a route is looked for; what is not kept there, the application does."""
        kept = self._cache.get(request.raw_path) if request.method in _READS else None
        if kept is None:
            return await application(request)

        async def recall(request: web.BaseRequest) -> web.Response:
            return http_response(request, kept.rendered, kept.standing)

        return await self._serve(request, recall, kept.route)

    @web.middleware
    async def middleware(
        self, request: web.Request, handler: Handler[web.Request]
    ) -> web.StreamResponse:
        """Answers a request that has its handler, whatever happens."""
        return await self._serve(request, handler, _route(request))

    async def _serve(self, request: R, handler: Handler[R], route: str) -> web.StreamResponse:
        began = time.perf_counter()
        given = request.headers.get("X-Request-ID")
        headers = general_headers(
            given if given is not None and _REQUEST_ID.fullmatch(given) else new_request_id()
        )
        headers.update(cors_headers(request, self._options.cors_origins))
        request[HEADERS] = headers
        status = 499  # the client went away
        self._metrics.in_progress += 1
        try:
            response = await self._answer(request, handler, headers, route)
            status = response.status
            if (
                not response.prepared and "X-Request-ID" not in response.headers
            ):  # else they are among its own
                for name, value in headers.items():
                    response.headers.setdefault(name, value)
            return response
        finally:
            self._metrics.in_progress -= 1
            self._metrics.answered(route, request.method, status, time.perf_counter() - began)

    async def _answer(
        self, request: R, handler: Handler[R], headers: CIMultiDict[str], route: str
    ) -> web.StreamResponse:
        try:
            if self._options.cors_origins and is_preflight(request):
                return preflight_response(headers)
            if request.path not in OPEN_PATHS:
                if self._options.token_digests:
                    check_token(request, self._options.token_digests)
                if self._limiter is not None:
                    await self._limit(request, self._limiter, route)
            return await handler(request)
        except ProblemError as problem:
            return problem_response(problem, headers["X-Request-ID"])
        except web.HTTPException as error:
            return problem_response(_http_problem(error), headers["X-Request-ID"])
        except Exception:  # the last resort: logged in full, the client learns the request id only
            log.exception(
                "request_failed",
                request_id=headers["X-Request-ID"],
                method=request.method,
                route=route,
            )
            return problem_response(_internal_error(), headers["X-Request-ID"])

    async def _limit(self, request: web.BaseRequest, limiter: RateLimiter, route: str) -> None:
        client = self._clients.address(request)
        if is_loopback(client):
            return
        try:
            await limiter.count(client, route)
        except ProblemError:
            self._metrics.rate_limited.inc()
            raise


def _route(request: web.Request) -> str:
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
            "There is nothing at this address.",
            "Everything is below /api/v1, such as /api/v1/channels, but for what /docs lists.",
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
        "The answer could not be made: a fault of this program.",
        "Tell the operator the requestId; the log says what happened.",
    )
