"""Who may ask, how often, and from which pages; and what is refused before it is a request."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pymongo import AsyncMongoClient
from redis import Redis
from structlog.testing import capture_logs
from yarl import URL

from cli.assembly.redis import redis_client
from devnet.servers import Redis as RedisServer
from explorer_api.http.access import token_digest
from explorer_api.options import Options
from runtime.http_server import SECURITY_HEADERS
from tests.explorer_api.support import CHANNEL, Api, Response, running_api

C = f"/api/v1/channels/{CHANNEL}"
TOKENS = ("tea and biscuits", "zweites-Zeichen-ä")
GUARDED = Options(head_age_s=0.0, token_digests=frozenset(map(token_digest, TOKENS)))


@pytest.fixture
async def guarded(client: AsyncMongoClient[Any], recorded_database: str) -> AsyncIterator[Api]:
    """An API that wants a token."""
    async with running_api(client, {CHANNEL: recorded_database}, GUARDED) as api:
        yield api


# --- Bearer tokens ----------------------------------------------------------------------------------------------------


async def test_who_has_a_token_may_ask(guarded: Api) -> None:
    for token in TOKENS:
        for value in (f"Bearer {token}", f"bearer   {token} "):
            assert (await guarded.get(f"{C}/blocks/7", headers={"Authorization": value})).json[
                "number"
            ] == 7
    for path in (f"{C}/blocks/7", "/api/v1/status", "/health", "/metrics", "/api/v1/nothing"):
        refused = await guarded.problem(path, 401, "unauthorized")
        assert refused.headers["WWW-Authenticate"].startswith("Bearer ")
        assert refused.headers["Cache-Control"] == "no-store", "what is kept for one is not for all"
    for path in ("/live", "/ready"):
        assert (await guarded.get(path)).status == 200


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer tea",
        b"Bearer tea and biscuits!",
        b"Bearer TEA AND BISCUITS",
        b"Bearer tea and biscuits, zweites-Zeichen-\xc3\xa4",
        b"Basic tea and biscuits",
        b"tea and biscuits",
        b"Bearer\ttea and biscuits",
        b"Bearer zweites-Zeichen-\xe4",
        b"Bearer \xff\xfe\xed\xa0\x80",
        b"Bearer " + b"x" * 8000,
    ],
)
async def test_what_is_no_token_opens_nothing(
    guarded: Api, value: bytes, caplog: pytest.LogCaptureFixture, recorded_database: str
) -> None:
    with capture_logs() as logs:
        status, head, body = await exchange(
            guarded, f"GET {C}/blocks/7", [b"Authorization: " + value]
        )
    assert status == 401
    assert (logs, caplog.records) == ([], [])
    for text in (
        *TOKENS,
        recorded_database,
        value.decode(errors="replace").partition(" ")[2].strip() or "Bearer  ",
    ):
        assert text not in body.decode(), "an answer repeats nothing of it"
    assert b"X-Request-ID" in head


async def exchange(api: Api, request: str, headers: Sequence[bytes]) -> tuple[int, bytes, bytes]:
    """Status, head and body of the answer to a request of exactly these bytes."""
    return await answered(
        api, b"\r\n".join([f"{request} HTTP/1.1".encode(), b"Host: x", *headers, b"", b""])
    )


async def answered(api: Api, data: bytes) -> tuple[int, bytes, bytes]:
    host, port = api.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
            )
            return (
                int(head.split()[1]),
                head,
                await reader.readexactly(int(length.partition(b":")[2])),
            )
    finally:
        writer.close()


# --- Pages of other origins -------------------------------------------------------------------------------------------

PAGE = "https://explorer.example.com"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "GET",
    "Access-Control-Request-Headers": "authorization",
}


def cors_of(response: Response) -> set[str]:
    return {name for name in response.headers if name.lower().startswith("access-control")}


async def test_pages_of_other_origins_read_nothing_unless_configured(recorded_api: Api) -> None:
    response = await recorded_api.get(f"{C}/blocks/7", headers={"Origin": PAGE})
    assert not cors_of(response)
    assert "Vary" not in response.headers
    refused = await recorded_api.request("OPTIONS", f"{C}/blocks/7", PREFLIGHT)
    assert (refused.status, cors_of(refused)) == (405, set())


async def test_pages_of_allowed_origins_may_read(
    client: AsyncMongoClient[Any], recorded_database: str
) -> None:
    options = Options(
        head_age_s=0.0, cors_origins=frozenset({PAGE, "http://localhost:3000"}), **SECRET
    )
    async with running_api(client, {CHANNEL: recorded_database}, options) as api:
        # a browser asks first, and without the token
        granted = await api.request("OPTIONS", f"{C}/blocks/7", PREFLIGHT)
        assert (granted.status, granted.body) == (204, b"")
        assert granted.headers["Access-Control-Allow-Origin"] == PAGE
        assert granted.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
        assert "authorization" in granted.headers["Access-Control-Allow-Headers"].lower()
        assert granted.headers["Vary"] == "Origin"

        # answers and problems alike, or the page could not read what went wrong
        token = {"Authorization": f"Bearer {TOKENS[0]}"}
        for path, headers, status in (
            (f"{C}/blocks/7", token, 200),
            (f"{C}/blocks/7", {**token, "If-None-Match": "*"}, 304),
            (f"{C}/blocks/999", token, 404),
            ("/nowhere", token, 404),
            (f"{C}/blocks/7", {}, 401),
        ):
            response = await api.get(path, status, {"Origin": PAGE, **headers})
            assert response.headers["Access-Control-Allow-Origin"] == PAGE
            assert "Ledger-Height" in response.headers["Access-Control-Expose-Headers"]
            assert response.headers["Vary"] == "Origin"
            assert "Access-Control-Allow-Credentials" not in response.headers

        for other in (
            "https://explorer.example.com.evil.org",
            "null",
            f"{PAGE}:443",
            PAGE.upper(),
            "*",
            "",
        ):
            response = await api.get(f"{C}/blocks/7", 200, {"Origin": other, **token})
            assert (cors_of(response), response.headers["Vary"]) == (set(), "Origin"), other
            refused = await api.request("OPTIONS", f"{C}/blocks/7", {**PREFLIGHT, "Origin": other})
            assert not cors_of(refused)
        assert (await api.get(f"{C}/blocks/7", headers=token)).headers["Vary"] == "Origin", (
            "for caches in between"
        )
        # a question that is none of a browser's
        assert (
            await api.request("OPTIONS", f"{C}/blocks/7", {"Origin": PAGE, **token})
        ).status == 405


SECRET: dict[str, Any] = {"token_digests": GUARDED.token_digests}


async def test_every_page_may_read_what_is_open_to_all(
    client: AsyncMongoClient[Any], recorded_database: str
) -> None:
    options = Options(head_age_s=0.0, cors_origins=frozenset({"*"}))
    async with running_api(client, {CHANNEL: recorded_database}, options) as api:
        for headers in ({"Origin": PAGE}, {"Origin": "null"}, {}):
            response = await api.get(f"{C}/blocks/7", headers=headers)
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert "Vary" not in response.headers
        granted = await api.request("OPTIONS", f"{C}/blocks/7", PREFLIGHT)
        assert granted.headers["Access-Control-Allow-Origin"] == "*"


# --- Rates ------------------------------------------------------------------------------------------------------------

PROXIED = Options(
    head_age_s=0.0, requests_per_minute=3, trusted_proxies=("127.0.0.0/8", "10.0.0.0/8")
)


@asynccontextmanager
async def limited(
    client: AsyncMongoClient[Any], database: str, *urls: str | None
) -> AsyncIterator[list[Api]]:
    """Several processes' APIs, each with a connection of its own to the Redis at its address."""
    async with AsyncExitStack() as stack:
        apis = []
        for url in urls:
            redis = redis_client(url) if url is not None else None
            if redis is not None:
                stack.push_async_callback(redis.aclose)
            apis.append(
                await stack.enter_async_context(
                    running_api(client, {CHANNEL: database}, PROXIED, redis=redis)
                )
            )
        yield apis


async def statuses(api: Api, address: str | None, path: str, times: int = 1) -> list[int]:
    headers = {"X-Forwarded-For": address} if address is not None else {}
    return [(await api.request("GET", path, headers)).status for _ in range(times)]


@pytest.fixture
def early_in_the_minute() -> None:
    """Counts begin anew every minute: none shall end during a test."""
    left = 60 - time.time() % 60
    if left < 4:
        time.sleep(left)


@pytest.mark.usefixtures("early_in_the_minute")
@pytest.mark.parametrize("shared", [False, True])
async def test_a_client_waits_who_asks_a_route_too_often(
    client: AsyncMongoClient[Any], recorded_database: str, redis_url: str, shared: bool
) -> None:
    async with limited(client, recorded_database, redis_url if shared else None) as (api,):
        assert await statuses(api, "192.0.2.1", f"{C}/blocks/7", 3) == [200] * 3
        refused = await api.request("GET", f"{C}/blocks/8", {"X-Forwarded-For": "192.0.2.1"})
        assert refused.status == 429, "another block is the same route"
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert 0 < int(refused.headers["Retry-After"]) <= 60
        assert refused.headers["Retry-After"] in refused.json["hint"]
        assert await statuses(api, "192.0.2.1", f"{C}/blocks/7", 3) == [429] * 3
        assert await statuses(api, "192.0.2.1", "/api/v1/status") == [200], "another route"
        assert await statuses(api, "192.0.2.2", f"{C}/blocks/7") == [200], "another client"
        assert await statuses(api, "2001:DB8:0::1", f"{C}/blocks/7", 3) == [200] * 3
        assert await statuses(api, "2001:db8::1", f"{C}/blocks/7") == [429], (
            "the same address, written differently"
        )
        assert await statuses(api, "192.0.2.3", "/nowhere", 2) == [404] * 2
        assert await statuses(api, "192.0.2.3", "/nowhere/else", 2) == [404, 429], (
            "addresses that are no route"
        )
        assert await statuses(api, "192.0.2.1", "/live", 5) == [200] * 5
        for local in (None, "127.0.0.9", "::1", "::ffff:127.0.0.1"):
            assert await statuses(api, local, f"{C}/blocks/7", 5) == [200] * 5, local
    with Redis.from_url(redis_url) as redis:
        keys = {
            key.decode().rpartition(":")[0]: redis.ttl(key) for key in redis.keys("*") if shared
        }
        counted = [redis.get(key) for key in redis.keys("rate_limit:192.0.2.1:*blocks*")]
    if shared:
        assert f"rate_limit:192.0.2.1:{C.replace(CHANNEL, '{channel}')}/blocks/{{block}}" in keys
        assert "rate_limit:2001:db8::1:/api/v1/channels/{channel}/blocks/{block}" in keys
        assert not [key for key in keys if "127.0.0" in key or "::ffff" in key]
        assert all(0 < ttl <= 120 for ttl in keys.values()), "they go by themselves"
        assert counted == [b"3"], "what is refused already costs Redis nothing"


@pytest.mark.usefixtures("early_in_the_minute")
async def test_the_limit_holds_for_all_processes_together(
    client: AsyncMongoClient[Any], recorded_database: str, redis_url: str
) -> None:
    async with limited(client, recorded_database, redis_url, redis_url) as (one, two):
        answers = [
            await statuses(api, "192.0.2.1", f"{C}/blocks/7") for api in (one, two, one, two, one)
        ]
        assert [status for (status,) in answers] == [200, 200, 200, 429, 429]
    async with limited(client, recorded_database, None, None) as (one, two):
        assert await statuses(one, "192.0.2.1", f"{C}/blocks/7", 4) == [200, 200, 200, 429]
        assert await statuses(two, "192.0.2.1", f"{C}/blocks/7") == [200], (
            "each for itself without Redis"
        )


@pytest.mark.usefixtures("early_in_the_minute")
async def test_without_redis_each_process_counts_for_itself(
    client: AsyncMongoClient[Any], recorded_database: str, tmp_path: Path
) -> None:
    with RedisServer(tmp_path / "redis") as server:
        async with limited(client, recorded_database, server.url) as (api,):
            assert await statuses(api, "192.0.2.1", f"{C}/blocks/7", 2) == [200] * 2
            for address, fault in (
                ("192.0.2.1", server.kill),
                ("192.0.2.2", server.start),
                ("192.0.2.3", server.pause),
            ):
                fault()
                began = time.monotonic()
                expected = [200, 429] if address == "192.0.2.1" else [200, 200, 200, 429]
                assert await statuses(api, address, f"{C}/blocks/7", len(expected)) == expected
                assert time.monotonic() - began < 1
                assert await statuses(api, address, f"{C}/blocks/7") == [429]


@pytest.mark.usefixtures("early_in_the_minute")
async def test_only_what_a_proxy_wrote_is_believed(
    client: AsyncMongoClient[Any], recorded_database: str
) -> None:
    """One address asks three times in other words; the fourth time it must wait, whatever else it claims."""
    async with limited(client, recorded_database, None) as (api,):
        same = [
            ["192.0.2.1"] * 3,
            ["192.0.2.2", "198.51.100.7, 192.0.2.2", "127.0.0.1, ::1,192.0.2.2"],
            [
                "192.0.2.3, 10.1.2.3",
                "garbage, 192.0.2.3 ,\t10.0.0.1, 127.0.0.1",
                "192.0.2.3, ::ffff:10.9.9.9",
            ],
            ["::ffff:192.0.2.4", "192.0.2.4", "::FFFF:C000:0204"],
            ["garbage, 10.0.0.1", ", 10.0.0.1", "192.0.2.999, 10.0.0.1"],
            ["fe80::1%eth0", "x, fe80::1%eth1", "fe80::1"],
        ]
        for written in same:
            for text in written:
                assert await statuses(api, text, f"{C}/blocks/7") == [200], text
            assert await statuses(api, f"203.0.113.9, {written[0]}", f"{C}/blocks/7") == [429], (
                written
            )
        for garbage in (
            "garbage",
            "",
            ",",
            ", ,",
            "127.0.0.1:80",
            "1" * 5000,
            "é, \u00ff",
            "1,2,3,4",
        ):
            assert await statuses(api, garbage, f"{C}/blocks/7", 4) == [200] * 4, (
                "this machine's own, so far as known"
            )
        # several headers are one
        values = [b"X-Forwarded-For: 203.0.113.1", b"X-Forwarded-For: 192.0.2.1"]
        assert (await exchange(api, f"GET {C}/blocks/7", values))[0] == 429
        assert (await exchange(api, f"GET {C}/blocks/7", [b"X-Forwarded-For: \xff\xfe"]))[0] == 200

    untrusting = msgspec.structs.replace(PROXIED, trusted_proxies=("10.0.0.0/8",))
    async with running_api(client, {CHANNEL: recorded_database}, untrusting) as api:
        assert await statuses(api, "192.0.2.1", f"{C}/blocks/7", 5) == [200] * 5, (
            "the peer is no proxy, but local"
        )


# --- Before it is a request -------------------------------------------------------------------------------------------

LONG = b"x" * 70_000
BROKEN = {
    "line too long": b"GET /" + LONG + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "header too long": b"GET /live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
    + LONG
    + b"\r\n\r\n",
    "too many headers": b"GET /live HTTP/1.1\r\nHost: x\r\n" + b"X-Secret: a\r\n" * 2000 + b"\r\n",
    "no host": b"GET /live HTTP/1.1\r\nAuthorization: Bearer secret\r\n\r\n",
    "NUL in a header": b"GET /live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\0\r\n\r\n",
    "no header": b"GET /live HTTP/1.1\r\nHost: x\r\nAuthorization Bearer secret\r\n\r\n",
    "bytes in the path": b"GET /secret\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "no address": b"GET http://[secret/live HTTP/1.1\r\nHost: x\r\n\r\n",
    "not HTTP": b"secret\r\n\r\n",
    "not a method": b"secret\1 /live HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "bad length": b"GET /live HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST /live HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    "bad chunk": b"POST /live HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n",
    "bad gzip": b"POST /live HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\nsecret",
    "bad expectation": b"GET /live HTTP/1.1\r\nHost: x\r\nExpect: secret\r\n\r\n",
    "bad expectation of no route": b"POST /nowhere HTTP/1.1\r\nHost: x\r\nExpect: secret\r\n\r\n",
}


@pytest.mark.parametrize("what", BROKEN)
async def test_what_is_no_request_is_a_problem_too(
    recorded_api: Api, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as logs:
        status, head, body = await answered(recorded_api, BROKEN[what])
    assert 400 <= status < 500
    text = head.decode()
    for name, value in SECURITY_HEADERS.items():
        assert f"\r\n{name}: {value}\r\n" in text
    assert "\r\nContent-Type: application/problem+json\r\n" in text
    problem = json.loads(body)
    assert f"\r\nX-Request-ID: {problem['requestId']}\r\n" in text
    assert problem["status"] == status
    assert "secret" not in body.decode()
    assert (logs, caplog.records) == ([], []), "what clients send is their affair"
    assert (await recorded_api.get("/live")).status == 200


async def test_what_a_request_must_not_carry_is_ignored(recorded_api: Api) -> None:
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


async def test_who_takes_no_answer_loses_the_connection(
    client: AsyncMongoClient[Any], recorded_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("explorer_api.http.server.SILENCE_MS", 500)
    async with running_api(client, {CHANNEL: recorded_database}) as api:
        whole = len((await api.get("/openapi.json")).body)
        asked = 200
        with socket.create_connection(address_of(api)) as greedy:
            greedy.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * asked)
            await asyncio.sleep(3)
            got = await asyncio.to_thread(drained, greedy)
        assert 0 < got < asked * whole


async def test_large_answers_that_wait_are_bounded(
    client: AsyncMongoClient[Any], recorded_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits longest is given up; who reads is served."""
    monkeypatch.setattr("explorer_api.http.server.UNSENT_BYTES", 400_000)
    async with running_api(client, {CHANNEL: recorded_database}) as api, AsyncExitStack() as stack:
        whole = len((await api.get("/openapi.json")).body)
        assert 400_000 // 3 < whole < 400_000 // 2
        ask = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
        greedy = [stack.enter_context(socket.create_connection(address_of(api))) for _ in range(4)]
        for connection in greedy:
            connection.sendall(
                ask * 199 + ask.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            )
            await asyncio.sleep(0.3)
        for connection in greedy[:2]:
            assert 0 < await asyncio.to_thread(drained, connection) < 200 * whole
        assert len((await api.get("/openapi.json")).body) == whole
        assert await asyncio.to_thread(drained, greedy[3]) > 200 * whole


async def test_silent_connections_take_nobody_the_last_one(
    client: AsyncMongoClient[Any], recorded_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("explorer_api.http.server.IDLE_S", 1.0)
    options = Options(head_age_s=0.0, connections=4)
    with capture_logs() as logs:
        async with (
            running_api(client, {CHANNEL: recorded_database}, options) as api,
            AsyncExitStack() as stack,
        ):
            await api.get("/live")
            silent = [
                stack.enter_context(socket.create_connection(address_of(api))) for _ in range(6)
            ]
            silent[0].sendall(b"GET /live HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            await asyncio.sleep(0.2)
            for connection in silent[3:]:
                connection.settimeout(0.1)
                assert connection.recv(1) == b"", "it was one too many"
            await api.get("/live")
            for connection in silent[:3]:
                connection.settimeout(5)
                assert await asyncio.to_thread(connection.recv, 1) == b""
            connection = stack.enter_context(socket.create_connection(address_of(api)))
            connection.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await asyncio.to_thread(connection.recv, 100)).startswith(b"HTTP/1.1 200")
    assert [entry["event"] for entry in logs] == ["too_many_connections"]


def address_of(api: Api) -> tuple[str, int]:
    return "127.0.0.1", URL(api.base).port or 0


def drained(connection: socket.socket) -> int:
    """How many bytes there still are until the other side is gone."""
    connection.settimeout(5)
    count = 0
    try:
        while data := connection.recv(1 << 20):
            count += len(data)
    except ConnectionResetError:
        return count
    return count
