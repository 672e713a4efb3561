"""The HTTP server: requests that cannot be parsed, and limits of connections and responses."""

import asyncio
import json
import socket
from contextlib import AsyncExitStack
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from structlog.testing import capture_logs

from explorer_api.options import Options, ServiceLimits
from runtime.http_server import SECURITY_HEADERS
from tests.explorer_api.raw_http import address_of, exchange, exchange_bytes
from tests.explorer_api.support import CHANNEL, Api, C, running_api

LONG = b"x" * 70_000
HOST = b"\r\nHost: x\r\n"
SECRET = b"Authorization: Bearer secret"
UNPARSABLE = {
    "line too long": b"GET /" + LONG + b" HTTP/1.1" + HOST + b"\r\n",
    "header too long": b"GET /live HTTP/1.1" + HOST + b"Authorization: " + LONG + b"\r\n\r\n",
    "too many headers": b"GET /live HTTP/1.1" + HOST + b"X-Secret: a\r\n" * 2000 + b"\r\n",
    "no host": b"GET /live HTTP/1.1\r\n" + SECRET + b"\r\n\r\n",
    "NUL in a header": b"GET /live HTTP/1.1" + HOST + SECRET + b"\0\r\n\r\n",
    "no header": b"GET /live HTTP/1.1" + HOST + b"Authorization Bearer secret\r\n\r\n",
    "bytes in the path": b"GET /secret\xff\xfe HTTP/1.1" + HOST + b"\r\n",
    "no address": b"GET http://[secret/live HTTP/1.1" + HOST + b"\r\n",
    "not HTTP": b"secret\r\n\r\n",
    "not a method": b"secret\1 /live HTTP/1.1" + HOST + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "bad length": b"GET /live HTTP/1.1" + HOST + b"Content-Length: -1\r\n\r\n",
    "two lengths": b"POST /live HTTP/1.1"
    + HOST
    + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    "bad chunk": b"POST /live HTTP/1.1" + HOST + b"Transfer-Encoding: chunked\r\n\r\nsecret\r\n",
    "bad gzip": b"POST /live HTTP/1.1"
    + HOST
    + b"Content-Encoding: gzip\r\nContent-Length: 6\r\n\r\nsecret",
    "bad expectation": b"GET /live HTTP/1.1" + HOST + b"Expect: secret\r\n\r\n",
    "bad expectation of no route": b"POST /nowhere HTTP/1.1" + HOST + b"Expect: secret\r\n\r\n",
}


@pytest.mark.parametrize("what", UNPARSABLE)
async def test_a_request_that_cannot_be_parsed_is_a_problem(
    recorded_api: Api, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as logs:
        status, head, body = await exchange_bytes(recorded_api, UNPARSABLE[what])
    assert 400 <= status < 500
    text = head.decode()
    for name, value in SECURITY_HEADERS.items():
        assert f"\r\n{name}: {value}\r\n" in text
    assert "\r\nContent-Type: application/problem+json\r\n" in text
    problem = json.loads(body)
    assert f"\r\nX-Request-ID: {problem['requestId']}\r\n" in text
    assert problem["status"] == status
    assert "secret" not in body.decode()
    assert (logs, caplog.records) == ([], []), "a client's mistake is not logged"
    assert (await recorded_api.get("/live")).status == 200


async def test_headers_without_meaning_are_ignored(recorded_api: Api) -> None:
    for headers in (
        [b"Cookie: \xff;;=="],
        [b"Connection: upgrade", b"Upgrade: websocket"],
        [b'If-None-Match: \xff"'],
        [b"Range: bytes=0-3"],
        [b"Content-Length: 3", b"", b"abc"],
    ):
        status, head, _ = await exchange(recorded_api, f"GET {C}/blocks/7", headers)
        assert status == 200
        assert head.startswith(b"HTTP/1.1 200")


REQUEST = b"GET /openapi.json HTTP/1.1" + HOST + b"\r\n"
LAST_REQUEST = b"GET /openapi.json HTTP/1.1" + HOST + b"Connection: close\r\n\r\n"
REQUESTS = 200


async def test_a_client_that_takes_no_response_loses_its_connection(
    client: AsyncMongoClient[Any], recorded_database: str
) -> None:
    limits = ServiceLimits(unresponsive_client_s=0.5)
    async with running_api(client, {CHANNEL: recorded_database}, limits=limits) as api:
        response_bytes = len((await api.get("/openapi.json")).body)
        with socket.create_connection(address_of(api)) as greedy:
            greedy.sendall(REQUEST * REQUESTS)
            await asyncio.sleep(6 * limits.unresponsive_client_s)
            received = await asyncio.to_thread(read_all, greedy)
        assert 0 < received < REQUESTS * response_bytes


async def test_the_responses_that_wait_longest_for_slow_clients_are_dropped(
    client: AsyncMongoClient[Any], recorded_database: str
) -> None:
    limits = ServiceLimits(unsent_bytes=500_000)
    channels = {CHANNEL: recorded_database}
    async with running_api(client, channels, limits=limits) as api, AsyncExitStack() as stack:
        response_bytes = len((await api.get("/openapi.json")).body)
        assert limits.unsent_bytes // 3 < response_bytes < limits.unsent_bytes // 2
        connections = [
            stack.enter_context(socket.create_connection(address_of(api))) for _ in range(4)
        ]
        for connection in connections:
            connection.sendall(REQUEST * (REQUESTS - 1) + LAST_REQUEST)
            await asyncio.sleep(0.3)
        for dropped in connections[:2]:
            received = await asyncio.to_thread(read_all, dropped)
            assert 0 < received < REQUESTS * response_bytes
        assert len((await api.get("/openapi.json")).body) == response_bytes
        assert await asyncio.to_thread(read_all, connections[3]) > REQUESTS * response_bytes


async def test_silent_connections_are_closed_and_their_number_is_limited(
    client: AsyncMongoClient[Any], recorded_database: str
) -> None:
    options, limits = Options(head_age_s=0.0, connections=4), ServiceLimits(idle_connection_s=3.0)
    channels = {CHANNEL: recorded_database}
    with capture_logs() as logs:
        async with (
            running_api(client, channels, options, limits=limits) as api,
            AsyncExitStack() as stack,
        ):
            await api.get("/live")
            silent = [
                stack.enter_context(socket.create_connection(address_of(api))) for _ in range(6)
            ]
            silent[0].sendall(b"GET /live HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            for connection in silent[3:]:
                assert await asyncio.to_thread(is_closed, connection), "one too many"
            await api.get("/live")
            for connection in silent[:3]:
                assert await asyncio.to_thread(is_closed, connection)
            connection = stack.enter_context(socket.create_connection(address_of(api)))
            connection.sendall(b"GET /live HTTP/1.1" + HOST + b"Connection: close\r\n\r\n")
            assert (await asyncio.to_thread(connection.recv, 100)).startswith(b"HTTP/1.1 200")
    assert [entry["event"] for entry in logs] == ["too_many_connections"]


def is_closed(connection: socket.socket) -> bool:
    """Return whether the server closes the connection within the time limit of the test."""
    connection.settimeout(30)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def read_all(connection: socket.socket) -> int:
    """Return the number of bytes until the server closes the connection."""
    connection.settimeout(30)
    count = 0
    try:
        while data := connection.recv(1 << 20):
            count += len(data)
    except ConnectionResetError:
        return count
    return count
