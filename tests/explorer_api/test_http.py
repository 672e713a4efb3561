"""Rules of HTTP that hold for all routes: headers, caching, parameters, cursors and paths."""

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from pymongo import AsyncMongoClient
from yarl import URL

from runtime.http_server import SECURITY_HEADERS
from tests.explorer_api.support import (
    CHANNEL,
    Api,
    C,
    Json,
    append,
    block,
    running_api,
    transaction,
)

ROUTES = [
    "/live",
    "/ready",
    "/api/v1/status",
    "/api/v1/channels",
    C,
    f"{C}/blocks",
    f"{C}/blocks/3",
    f"{C}/blocks/latest",
    f"{C}/events",
]


@pytest.mark.parametrize("path", ROUTES)
async def test_every_response_follows_the_rules_of_http(recorded_api: Api, path: str) -> None:
    response = await recorded_api.get(path)
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "aiohttp" not in response.headers["Server"].lower()
    assert len(response.headers["X-Request-ID"]) == 32
    if path.startswith(C):
        assert response.headers["Ledger-Height"] == response.headers["Ledger-Peer-Height"] == "136"
        etag = response.headers["ETag"]
        assert etag.startswith('"'), "a strong ETag"
        for validator in (etag, f'"other", {etag}', f"W/{etag}", "*"):
            unchanged = await recorded_api.get(path, 304, {"If-None-Match": validator})
            assert unchanged.body == b""
            for header in ("ETag", "Cache-Control", "Ledger-Height"):
                assert unchanged.headers[header] == response.headers[header]
        await recorded_api.get(path, 200, {"If-None-Match": '"other"'})

    head = await recorded_api.request("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(response.body)) or path == "/api/v1/status"
    assert head.headers.get("ETag") == response.headers.get("ETag")

    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"):
        refused = await recorded_api.problem(path, 405, "method-not-allowed", method)
        assert refused.headers["Allow"] == "GET, HEAD"
    unknown = await recorded_api.problem(f"{path}?pretty=1", 400, "unknown-parameter")
    assert unknown.json["parameter"] == "pretty"
    assert ("Ledger-Height" in unknown.headers) == path.startswith(C)


async def test_a_valid_request_id_of_the_client_is_used(recorded_api: Api) -> None:
    for request_id, is_used in (("gateway-17.a_B", True), ("x" * 65, False), ("<b>", False)):
        response = await recorded_api.get("/live", headers={"X-Request-ID": request_id})
        assert (response.headers["X-Request-ID"] == request_id) == is_used


@pytest.mark.parametrize(
    ("path", "cache_control"),
    [
        (C, "no-cache"),
        (f"{C}/blocks", "no-cache"),
        (f"{C}/blocks?number.le=135&limit=2", "max-age=86400"),
        (f"{C}/blocks?number.le=136&limit=2", "no-cache"),
        (f"{C}/blocks?order=asc&limit=2", "max-age=86400"),
        (f"{C}/blocks?order=asc&number.ge=130", "no-cache"),
        (f"{C}/blocks?order=asc&limit=2&ts.ge=2000-01-01T00:00:00Z", "no-cache"),
        (f"{C}/blocks/7", "max-age=31536000, immutable"),
        (f"{C}/blocks/7?include=transactions", "max-age=31536000, immutable"),
        (f"{C}/blocks/latest", "no-cache"),
        (f"{C}/events", "no-cache"),
        (f"{C}/events?block.le=50", "max-age=86400"),
        (f"{C}/events?name.eq=Mint&order=asc&limit=2", "max-age=86400"),
    ],
)
async def test_a_response_may_be_cached_as_long_as_it_cannot_change(
    recorded_api: Api, path: str, cache_control: str
) -> None:
    response = await recorded_api.get(path)
    assert response.headers["Cache-Control"] == cache_control
    if "include" in path:
        assert (
            response.headers["ETag"]
            != (await recorded_api.get(path.split("?", maxsplit=1)[0])).headers["ETag"]
        )
    following = response.json.get("page", {}).get("next")
    if following is not None:
        joint = "&" if "?" in path else "?"
        assert (await recorded_api.get(f"{path}{joint}cursor={following}")).headers[
            "Cache-Control"
        ] == "max-age=86400"


async def test_new_blocks_change_the_etag(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    paths = (C, f"{C}/blocks", f"{C}/blocks/latest", f"{C}/events")
    await append(client, database_name, [block(0, [transaction(0, "a")])])
    before = {path: (await api.get(path)).headers["ETag"] for path in paths}
    await append(client, database_name, [block(1, [transaction(0, "b")])])
    for path, etag in before.items():
        await api.get(path, 200, {"If-None-Match": etag})


@pytest.mark.parametrize(
    ("query", "name", "parameter"),
    [
        *[
            (f"blocks?limit={value}", "invalid-parameter", "limit")
            for value in ("0", "501", "-1", "1.0", "", "%D9%A3", "1e2")
        ],
        ("blocks?limit=5&limit=5", "repeated-parameter", "limit"),
        ("blocks?Limit=5", "unknown-parameter", "Limit"),
        ("blocks?page=2", "unknown-parameter", "page"),
        ("blocks?order=up", "invalid-parameter", "order"),
        ("blocks?number.ge=8796093022208", "invalid-parameter", "number.ge"),
        ("blocks?number.ge=9&number.le=8", "invalid-parameter", "number.ge"),
        ("blocks?number[$ge]=9", "unknown-parameter", "number[$ge]"),
        ("blocks?ts.ge=2026-01-01", "invalid-parameter", "ts.ge"),
        ("blocks?ts.ge=2026-01-01T00:00:00", "invalid-parameter", "ts.ge"),
        ("blocks?ts.lt=2026-01-01T00:00:00+07:00", "invalid-parameter", "ts.lt"),
        (
            "blocks?ts.ge=2026-01-01T00:00:00Z&ts.lt=2026-01-01T00:00:00Z",
            "invalid-parameter",
            "ts.ge",
        ),
        ("blocks/1?include=events", "invalid-parameter", "include"),
        ("blocks/1?include=", "invalid-parameter", "include"),
        ("blocks/1?limit=1", "unknown-parameter", "limit"),
        ("events?name.eq=a&name.in=b", "invalid-parameter", "name.in"),
        ("events?name.in=a,,b", "invalid-parameter", "name.in"),
        ("events?name.in=a,a", "invalid-parameter", "name.in"),
        ("events?name.in=" + ",".join(map(str, range(21))), "invalid-parameter", "name.in"),
        ("events?block.le=null", "invalid-parameter", "block.le"),
        ("events?name.eq=%FF", "malformed-query", None),
        ("events?" + "&".join(f"a{i}" for i in range(100)), "malformed-query", None),
        ("transactions/x?limit=1", "unknown-parameter", "limit"),
    ],
)
async def test_parameters_are_checked(
    recorded_api: Api, query: str, name: str, parameter: str | None
) -> None:
    response = await recorded_api.problem(f"{C}/{query}", 400, name)
    assert response.json.get("parameter") == parameter
    if parameter is not None:
        assert response.json["allowed"]
    assert response.headers["Ledger-Height"] == "136"


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("blocks?number.ge=9&number.le=8", "number.ge is '9'."),
        (
            "blocks?ts.ge=2026-01-01T07:00:00%2B07:00&ts.lt=2026-01-01T00:00:00Z",
            "ts.ge is '2026-01-01T07:00:00+07:00'.",
        ),
        (
            "stats/series?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
            "from is '2026-01-02T00:00:00Z'.",
        ),
        ("stats/series?to=9999-12-31T01:00:00Z", "to is '9999-12-31T01:00:00Z'."),
        ("transactions?status.eq=VALID&status.ne=11", "status.ne is '11'."),
        ("transactions?status.ne=VALID&status.in=11,VALID", "status.in is '11,VALID'."),
    ],
)
async def test_a_problem_shows_the_value_as_it_was_sent(
    recorded_api: Api, query: str, detail: str
) -> None:
    assert (await recorded_api.problem(f"{C}/{query}", 400, "invalid-parameter")).json[
        "detail"
    ] == detail


async def test_a_value_is_never_an_operator(recorded_api: Api) -> None:
    for value in ('{"$gt":""}', "$where", "null", "Mint\0", ".*"):
        assert (await recorded_api.channel("/events", name__eq=value))["items"] == []
    operator = quote('{"$gt":""}')
    await recorded_api.problem(f"{C}/transactions/{operator}", 404, "transaction-not-found")


async def test_a_cursor_is_bound_to_its_query(recorded_api: Api) -> None:
    cursor = (await recorded_api.channel("/blocks", limit=3))["page"]["next"]
    assert (await recorded_api.channel("/blocks", limit=9, cursor=cursor))["items"][0][
        "number"
    ] == 132

    fields = json.loads(base64.urlsafe_b64decode(cursor + "=="))
    forged = [
        fields | {"height": 137},
        fields | {"after": -1},
        fields | {"after": "5"},
        fields | {"more": 1},
        [],
        None,
    ]
    texts = [write(value) for value in forged]
    texts += [
        "",
        "x",
        "!!!!",
        cursor + "=",
        cursor[:-1],
        cursor + "A",
        "é",
        "A" * 513,
        write(fields) + "%0A",
    ]
    texts.append(base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("="))
    for text in texts:
        response = await recorded_api.request("GET", f"{C}/blocks?cursor={quote(text, safe='%')}")
        assert response.status == 400, text
        assert response.json["parameter"] == "cursor"
    for other in (
        f"blocks?cursor={cursor}&order=asc",
        f"blocks?cursor={cursor}&number.ge=1",
        f"blocks?cursor={cursor}&ts.ge=2026-01-01T00:00:00Z",
        f"events?cursor={cursor}",
    ):
        await recorded_api.problem(f"{C}/{other}", 400, "invalid-cursor")


async def test_a_cursor_is_bound_to_its_channel(
    client: AsyncMongoClient[Any], recorded_database: str
) -> None:
    async with running_api(client, {CHANNEL: recorded_database, "other": recorded_database}) as api:
        cursor = (await api.channel("/blocks", limit=3))["page"]["next"]
        await api.problem(f"/api/v1/channels/other/blocks?cursor={cursor}", 400, "invalid-cursor")


def write(fields: Json | list[Any] | None) -> str:
    text = json.dumps(fields, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/v1",
        "/api/v2/channels",
        f"{C}/",
        f"{C}/nothing",
        f"{C}/blocks/1/2/3",
        "/%00",
        "/live/",
    ],
)
async def test_an_unknown_path_is_a_problem(recorded_api: Api, path: str) -> None:
    await recorded_api.problem(path, 404, "route-not-found")


async def test_the_root_redirects_to_the_documentation(recorded_api: Api) -> None:
    for method in ("GET", "HEAD"):
        url = URL(f"{recorded_api.base}/")
        async with recorded_api.session.request(method, url, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (307, "/docs")
            assert response.headers["Cache-Control"] == "no-store"
            assert len(response.headers["X-Request-ID"]) == 32
            for name, value in SECURITY_HEADERS.items():
                assert response.headers[name] == value
    followed = await recorded_api.get("/")
    assert followed.headers["Content-Type"].startswith("text/html")
    await recorded_api.problem("/", 405, "method-not-allowed", "POST")


@pytest.mark.parametrize(
    "name", ["nowhere", "KINDLEDGER", "%FF", "%00", "..%2F", "admin", "$cmd", "x" * 5000]
)
async def test_an_unknown_channel_is_a_problem(recorded_api: Api, name: str) -> None:
    response = await recorded_api.problem(
        f"/api/v1/channels/{name}/blocks", 404, "channel-not-found"
    )
    assert CHANNEL in response.json["hint"]
