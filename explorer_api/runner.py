"""HTTP below the application: what is no request is answered like every other problem.

Left alone, aiohttp would log what the client sent, which may be a secret, and name its own version.
"""

import asyncio
import socket
from http import HTTPStatus
from secrets import token_hex
from typing import Final

import structlog
from aiohttp import web

from explorer_api.middleware import SECURITY_HEADERS
from explorer_api.problems import ProblemError, problem_response

log = structlog.get_logger()

SILENCE_MS: Final = 60_000
"""A client that takes nothing for so long, or has vanished, loses its connection."""


class Runner(web.AppRunner):
    """Serves an application."""

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            try:
                return await server.request_handler(request)
            except web.HTTPException as error:  # of aiohttp itself, before any middleware: an odd Expect
                return _refusal(error.status)

        loop = asyncio.get_running_loop()
        return _Server(handle, request_factory=server.request_factory, loop=loop, **self._kwargs)


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bounds how long the system waits for the client; how long it may idle, aiohttp does."""
        connected: socket.socket = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_MS)
        super().connection_made(transport)

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
    request_id = token_hex(16)
    response = problem_response(problem, request_id)
    response.headers.update({**SECURITY_HEADERS, "X-Request-ID": request_id})
    return response
