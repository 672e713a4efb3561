"""HTTP below the application: what is no request is answered like every other problem.

Left alone, aiohttp would log what the client sent, which may be a secret, and name its own version.
"""

import asyncio
import socket
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final, TypeVar, cast

import structlog
from aiohttp import web

from explorer_api.http.middleware import Middleware, general_headers, new_request_id
from explorer_api.http.problems import ProblemError, problem_response

log = structlog.get_logger()

T = TypeVar("T")

SILENCE_MS: Final = 60_000
"""A client that takes nothing for so long, or has vanished, loses its connection."""
IDLE_S: Final = 75.0
"""A client that has not sent a whole request for so long does too."""
UNSENT_BYTES: Final = 128 << 20
"""Of large answers that clients take slowly; beyond that the one that waits longest is given up."""

_LARGE_BYTES: Final = 1 << 16
_LOG_INTERVAL_S: Final = 60.0


class ApiRunner(web.AppRunner):
    """Serves an application to so many connections; further ones are closed at once."""

    def __init__(
        self, app: web.Application, *, gate: Middleware, connections: int, **kwargs: Any
    ) -> None:
        super().__init__(app, keepalive_timeout=IDLE_S, **kwargs)
        self._gate, self._connections = gate, connections

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            try:
                return await self._gate.handle(request, server.request_handler)
            except (
                web.HTTPException
            ) as error:  # of aiohttp itself, before any middleware: an odd Expect
                return _refusal(error.status)

        loop = asyncio.get_running_loop()
        return _Server(
            handle,
            self._connections,
            request_factory=server.request_factory,
            loop=loop,
            **self._kwargs,
        )


class _Server(web.Server):
    """Knows what its connections take of the system: descriptors, and memory for what is not sent yet."""

    def __init__(self, handler: Any, most: int, **kwargs: Any) -> None:
        super().__init__(handler, **kwargs)
        self._most, self._open, self._unsent_bytes = most, 0, 0
        self._unsent: dict[_Connection, int] = {}
        self._logged: float | None = None

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    def opened(self) -> bool:
        """Counts a connection; whether it may stay."""
        self._open += 1
        if self._open <= self._most:
            return True
        now = time.monotonic()
        if self._logged is None or now - self._logged > _LOG_INTERVAL_S:
            self._logged = now
            log.warning("too_many_connections", most=self._most)
        return False

    def closed(self) -> None:
        """A connection that was counted is gone."""
        self._open -= 1

    @contextmanager
    def sending(self, connection: "_Connection", size: int) -> Iterator[None]:
        """Counts a large answer while the context lasts."""
        self._unsent[connection] = size
        self._unsent_bytes += size
        while self._unsent_bytes > UNSENT_BYTES and len(self._unsent) > 1:
            oldest = next(iter(self._unsent))
            self._sent(oldest)
            oldest.force_close()
            if oldest.transport is not None:
                oldest.transport.abort()
        try:
            yield
        finally:
            self._sent(connection)

    def _sent(self, connection: "_Connection") -> None:
        self._unsent_bytes -= self._unsent.pop(connection, 0)


class _Connection(web.RequestHandler):
    __slots__ = ("_server",)

    def __init__(self, server: _Server, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bounds how long the system waits for the client."""
        if not self._server.opened():
            cast("asyncio.Transport", transport).abort()
            return
        connected: socket.socket = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_MS)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Comes once after each `connection_made`."""
        self._server.closed()
        super().connection_lost(exc)

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Waits until the client has taken nearly all of the answer."""
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
        message: str | None = None,  # noqa: ARG002 - repeats what was sent
    ) -> web.StreamResponse:
        """The answer to what could not be read, or failed where no middleware sees it."""
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
        f"The request was refused before it was looked at: {reason}.",
        "Check that it is HTTP/1.1, that address and headers are percent-encoded and not too long.",
    )
    request_id = new_request_id()
    response = problem_response(problem, request_id)
    response.headers.update(general_headers(request_id))
    return response
