"""The HTTP server below the application: connections, and requests that cannot be parsed.

aiohttp itself would log the bytes that a client sent, which may be a secret, and tell its version.
"""

import asyncio
import socket
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final, TypeVar, cast

import structlog
from aiohttp import web

from explorer_api.http.middleware import Middleware, general_headers, new_request_id
from explorer_api.http.problems import ProblemError, problem_response
from explorer_api.options import ServiceLimits
from runtime.throttled_log import ThrottledLog

log = structlog.get_logger()

T = TypeVar("T")

_LARGE_BYTES: Final = 1 << 16
"""A larger response counts as unsent until the client has taken nearly all of it."""


class ApiRunner(web.AppRunner):
    """Serves an application to at most `connections` connections; further ones are closed."""

    def __init__(
        self,
        app: web.Application,
        *,
        middleware: Middleware,
        connections: int,
        limits: ServiceLimits,
        **kwargs: Any,
    ) -> None:
        super().__init__(app, keepalive_timeout=limits.idle_connection_s, **kwargs)
        self._middleware, self._connections, self._limits = middleware, connections, limits

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            try:
                return await self._middleware.handle(request, server.request_handler)
            except web.HTTPException as error:  # aiohttp refuses an unknown Expect header
                return _refusal(error.status)

        return _Server(
            handle,
            self._connections,
            self._limits,
            request_factory=server.request_factory,
            loop=asyncio.get_running_loop(),
            **self._kwargs,
        )


class _Server(web.Server):
    """Limits the resources of all connections: their number, and the bytes not sent yet."""

    def __init__(
        self, handler: Any, max_connections: int, limits: ServiceLimits, **kwargs: Any
    ) -> None:
        super().__init__(handler, **kwargs)
        self._max_connections, self._max_unsent_bytes = max_connections, limits.unsent_bytes
        self.user_timeout_ms = int(1000 * limits.unresponsive_client_s)
        self._open_connections, self._unsent_bytes = 0, 0
        self._unsent: dict[_Connection, int] = {}
        """The size of the large response of each connection, the oldest response first."""
        self._refusals = ThrottledLog("too_many_connections", most=max_connections)

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    def count_opened(self) -> bool:
        """Count a new connection. Return whether it may stay open."""
        self._open_connections += 1
        if self._open_connections <= self._max_connections:
            return True
        self._refusals.failed()
        return False

    def count_closed(self) -> None:
        """Count a connection as closed."""
        self._open_connections -= 1

    @contextmanager
    def sending(self, connection: "_Connection", size: int) -> Iterator[None]:
        """Count a large response as unsent while the context lasts."""
        self._unsent[connection] = size
        self._unsent_bytes += size
        while self._unsent_bytes > self._max_unsent_bytes and len(self._unsent) > 1:
            oldest = next(iter(self._unsent))
            self._remove_unsent(oldest)
            oldest.force_close()
            if oldest.transport is not None:
                oldest.transport.abort()
        try:
            yield
        finally:
            self._remove_unsent(connection)

    def _remove_unsent(self, connection: "_Connection") -> None:
        self._unsent_bytes -= self._unsent.pop(connection, 0)


class _Connection(web.RequestHandler):
    __slots__ = ("_server",)

    def __init__(self, server: _Server, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Limit the time that the system waits for the client's acknowledgements."""
        if not self._server.count_opened():
            cast("asyncio.Transport", transport).abort()
            return
        client: socket.socket = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            timeout_ms = self._server.user_timeout_ms
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count the connection as closed; asyncio calls this once after `connection_made`."""
        self._server.count_closed()
        super().connection_lost(exc)

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Send the response, and wait until the client has taken nearly all of it."""
        finishing = super().finish_response(request, resp, start_time)
        body = resp.body if isinstance(resp, web.Response) else None
        if isinstance(body, bytes) and len(body) >= _LARGE_BYTES:
            return self._finish_large(finishing, len(body))
        return finishing

    async def _finish_large(self, finishing: Coroutine[Any, Any, T], size: int) -> T:
        with self._server.sending(self, size):
            return await finishing

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - the signature is aiohttp's
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it repeats the client's bytes
    ) -> web.StreamResponse:
        """Respond to a request that cannot be parsed, or that failed outside of the middleware."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("request_failed", exc_info=exc)
        response = _refusal(status)
        response.force_close()
        return response


def _refusal(status: int) -> web.Response:
    reason = HTTPStatus(status).phrase
    problem = ProblemError(
        status,
        "http-error",
        reason,
        f"The request was refused before it was parsed: {reason}.",
        "Check that it is HTTP/1.1, that path and headers are percent-encoded and not too long.",
    )
    request_id = new_request_id()
    response = problem_response(problem, request_id)
    response.headers.update(general_headers(request_id))
    return response
