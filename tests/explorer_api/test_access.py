"""Access control: bearer tokens, and pages of other origins (CORS)."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from structlog.testing import capture_logs

from explorer_api.http.access import token_digest
from explorer_api.options import Options
from tests.explorer_api.raw_http import exchange
from tests.explorer_api.support import CHANNEL, Api, C, Response, running_api

TOKENS = ("tea and biscuits", "zweites-Zeichen-ä")
DIGESTS = frozenset(map(token_digest, TOKENS))


@pytest.fixture
async def guarded(client: AsyncMongoClient[Any], recorded_database: str) -> AsyncIterator[Api]:
    """An API that requires a token."""
    options = Options(head_age_s=0.0, token_digests=DIGESTS)
    async with running_api(client, {CHANNEL: recorded_database}, options) as api:
        yield api


async def test_a_valid_token_is_required(guarded: Api) -> None:
    for token in TOKENS:
        for value in (f"Bearer {token}", f"bearer   {token} "):
            response = await guarded.get(f"{C}/blocks/7", headers={"Authorization": value})
            assert response.json["number"] == 7
    for path in (f"{C}/blocks/7", "/api/v1/status", "/health", "/metrics", "/api/v1/nothing", "/"):
        refused = await guarded.problem(path, 401, "unauthorized")
        assert refused.headers["WWW-Authenticate"].startswith("Bearer ")
        assert refused.headers["Cache-Control"] == "no-store", "no response of one client for all"
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
async def test_an_invalid_token_is_refused_and_not_repeated(
    guarded: Api, value: bytes, caplog: pytest.LogCaptureFixture, recorded_database: str
) -> None:
    with capture_logs() as logs:
        authorization = b"Authorization: " + value
        status, head, body = await exchange(guarded, f"GET {C}/blocks/7", [authorization])
    assert status == 401
    assert (logs, caplog.records) == ([], [])
    sent_token = value.decode(errors="replace").partition(" ")[2].strip()
    for text in (*TOKENS, recorded_database, sent_token or "Bearer  "):
        assert text not in body.decode()
    assert b"X-Request-ID" in head


PAGE = "https://explorer.example.com"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "GET",
    "Access-Control-Request-Headers": "authorization",
}
AUTHORIZED = {"Authorization": f"Bearer {TOKENS[0]}"}


def cors_headers_of(response: Response) -> set[str]:
    return {name for name in response.headers if name.lower().startswith("access-control")}


async def test_without_configuration_no_other_origin_may_read(recorded_api: Api) -> None:
    response = await recorded_api.get(f"{C}/blocks/7", headers={"Origin": PAGE})
    assert not cors_headers_of(response)
    assert "Origin" not in response.headers.getall("Vary")
    refused = await recorded_api.request("OPTIONS", f"{C}/blocks/7", PREFLIGHT)
    assert (refused.status, cors_headers_of(refused)) == (405, set())


@pytest.fixture
async def shared(client: AsyncMongoClient[Any], recorded_database: str) -> AsyncIterator[Api]:
    """An API that pages of two origins may read, with a token."""
    origins = frozenset({PAGE, "http://localhost:3000"})
    options = Options(head_age_s=0.0, cors_origins=origins, token_digests=DIGESTS)
    async with running_api(client, {CHANNEL: recorded_database}, options) as api:
        yield api


async def test_a_preflight_request_needs_no_token(shared: Api) -> None:
    granted = await shared.request("OPTIONS", f"{C}/blocks/7", PREFLIGHT)
    assert (granted.status, granted.body) == (204, b"")
    assert granted.headers["Access-Control-Allow-Origin"] == PAGE
    assert granted.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
    assert "authorization" in granted.headers["Access-Control-Allow-Headers"].lower()
    assert granted.headers["Vary"] == "Origin"
    no_preflight = {"Origin": PAGE, **AUTHORIZED}
    assert (await shared.request("OPTIONS", f"{C}/blocks/7", no_preflight)).status == 405


async def test_pages_of_allowed_origins_may_read_responses_and_problems(shared: Api) -> None:
    for path, headers, status in (
        (f"{C}/blocks/7", AUTHORIZED, 200),
        (f"{C}/blocks/7", {**AUTHORIZED, "If-None-Match": "*"}, 304),
        (f"{C}/blocks/999", AUTHORIZED, 404),
        ("/nowhere", AUTHORIZED, 404),
        (f"{C}/blocks/7", {}, 401),
    ):
        response = await shared.get(path, status, {"Origin": PAGE, **headers})
        assert response.headers["Access-Control-Allow-Origin"] == PAGE
        assert "Ledger-Height" in response.headers["Access-Control-Expose-Headers"]
        assert response.headers["Vary"] == "Origin"
        assert "Access-Control-Allow-Credentials" not in response.headers


async def test_pages_of_other_origins_may_not_read(shared: Api) -> None:
    for other in (
        "https://explorer.example.com.evil.org",
        "null",
        f"{PAGE}:443",
        PAGE.upper(),
        "*",
        "",
    ):
        response = await shared.get(f"{C}/blocks/7", 200, {"Origin": other, **AUTHORIZED})
        assert (cors_headers_of(response), response.headers["Vary"]) == (set(), "Origin"), other
        refused = await shared.request("OPTIONS", f"{C}/blocks/7", {**PREFLIGHT, "Origin": other})
        assert not cors_headers_of(refused)
    without_origin = await shared.get(f"{C}/blocks/7", headers=AUTHORIZED)
    assert without_origin.headers["Vary"] == "Origin", "for shared caches"


async def test_pages_of_all_origins_may_read_a_public_api(
    client: AsyncMongoClient[Any], recorded_database: str
) -> None:
    options = Options(head_age_s=0.0, cors_origins=frozenset({"*"}))
    async with running_api(client, {CHANNEL: recorded_database}, options) as api:
        for headers in ({"Origin": PAGE}, {"Origin": "null"}, {}):
            response = await api.get(f"{C}/blocks/7", headers=headers)
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert "Origin" not in response.headers.getall("Vary")
        granted = await api.request("OPTIONS", f"{C}/blocks/7", PREFLIGHT)
        assert granted.headers["Access-Control-Allow-Origin"] == "*"
