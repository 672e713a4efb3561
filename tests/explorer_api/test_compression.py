"""Compressed responses: the same content, on request, with validators that hold for all forms."""

import asyncio
import gzip
import random
from collections.abc import Callable
from typing import Any, Final

import pytest
from pymongo import AsyncMongoClient

from explorer_api.http.compression import Coding, CompressedBodies
from explorer_api.options import Options
from runtime.zstd import zstd
from tests.explorer_api.support import CHANNEL, Api, C, append, block, running_api, transaction

COMPRESSED = {"Accept-Encoding": "gzip"}
LARGE = f"{C}/transactions"
SMALL = "/live"
MAX_WINDOW: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: 23}
"""Clients need not decode a frame with a window of more than 8 MB (RFC 9659)."""


def unzstd(body: bytes) -> bytes:
    return zstd.ZstdDecompressor(options=MAX_WINDOW).decompress(body)


DECOMPRESS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.decompress,
    "zstd": unzstd,
}


@pytest.mark.parametrize("coding", DECOMPRESS)
@pytest.mark.parametrize(
    "path", [LARGE, f"{C}/events", f"{C}/blocks/7?include=transactions", "/openapi.json", "/docs"]
)
async def test_a_compressed_response_has_the_content_of_the_plain_one(
    recorded_api: Api, path: str, coding: str
) -> None:
    accepted = {"Accept-Encoding": coding}
    plain = await recorded_api.get(path)
    compressed = await recorded_api.get(path, headers=accepted)
    assert DECOMPRESS[coding](compressed.body) == plain.body
    assert len(compressed.body) < len(plain.body) / 1.5
    assert compressed.headers["Content-Encoding"] == coding
    assert "Content-Encoding" not in plain.headers
    for response in (plain, compressed):
        assert response.headers["Vary"] == "Accept-Encoding"
        assert response.headers["Content-Length"] == str(len(response.body))
    assert compressed.headers["Content-Type"] == plain.headers["Content-Type"]
    head = await recorded_api.request("HEAD", path, accepted)
    assert (head.status, head.body) == (200, b"")
    for name in ("Content-Encoding", "Content-Length", "Vary", "ETag"):
        assert head.headers.get(name) == compressed.headers.get(name)


async def test_a_conditional_request_may_have_the_validator_of_any_form(
    recorded_api: Api,
) -> None:
    plain = await recorded_api.get(LARGE)
    compressed = [
        await recorded_api.get(LARGE, headers={"Accept-Encoding": coding}) for coding in DECOMPRESS
    ]
    etags = [response.headers["ETag"] for response in (plain, *compressed)]
    weak = f"W/{etags[0]}"
    assert etags[1:] == [weak, weak], "the bytes of two forms have no strong ETag in common"
    for method in ("GET", "HEAD"):
        for accepted, etag in zip(("identity", *DECOMPRESS), etags, strict=True):
            for sent in (*etags, f'"other", {etags[1]}', "*"):
                headers = {"Accept-Encoding": accepted, "If-None-Match": sent}
                unchanged = await recorded_api.request(method, LARGE, headers)
                assert (unchanged.status, unchanged.body) == (304, b"")
                assert "Content-Encoding" not in unchanged.headers
                assert unchanged.headers["ETag"] == etag
                assert unchanged.headers["Vary"] == "Accept-Encoding"
            other = {"Accept-Encoding": accepted, "If-None-Match": 'W/"other"'}
            assert (await recorded_api.request(method, LARGE, other)).status == 200


@pytest.mark.parametrize(
    ("accepted", "large", "small"),
    [
        ("gzip", "gzip", None),
        ("GZIP;Q=1.0", "gzip", None),
        ("x-gzip", "gzip", None),
        ("zstd", "zstd", None),
        ("gzip, deflate, br, zstd", "zstd", None),
        ("zstd;q=0.5, gzip;q=0.5", "zstd", None),
        ("zstd;q=0.5, gzip;q=0.6", "gzip", None),
        ("zstd;q=0.5, x-gzip;q=0.6", "gzip", None),
        ("zstd;q=0.5, gzip;q=0.3, identity;q=0.5", "zstd", None),
        ("zstd;q=0.1, gzip;q=0.1, identity;q=0.2", None, None),
        ("zstd;q=0, gzip;q=0.1", "gzip", None),
        ("gzip;q=0.5, *;q=0.4", "gzip", None),
        ("gzip;q=0.5, *;q=0.6", "zstd", None),
        ("gzip;q=0.2", "gzip", None),
        ("gzip ; q=0.5 , identity;q=0.5", "gzip", None),
        ("gzip;q=0.4, identity;q=0.5", None, None),
        ("gzip;q=0", None, None),
        ("gzip;q=0, *", "zstd", None),
        ("gzip;q=0, zstd;q=0, *", None, None),
        ("*", "zstd", None),
        ("*;q=0.1", "zstd", None),
        ("br", None, None),
        ("", None, None),
        ("identity", None, None),
        ("identity;q=0, gzip", "gzip", "gzip"),
        ("identity;q=0, *;q=0.1", "zstd", "zstd"),
        ("gzip, *;q=0", "gzip", "gzip"),
        ("gzip;q=2, identity;q=x, gzip;level=9, ;;", None, None),
    ],
)
async def test_the_client_decides_on_compression(
    recorded_api: Api, accepted: str, large: str | None, small: str | None
) -> None:
    headers = {"Accept-Encoding": accepted}
    for path, encoding in ((LARGE, large), (SMALL, small)):
        response = await recorded_api.get(path, headers=headers)
        assert response.headers.get("Content-Encoding") == encoding


@pytest.mark.parametrize(
    "accepted", ["identity;q=0", "*;q=0", "br, *;q=0", "zstd;q=0, gzip;q=0, identity;q=0.000"]
)
async def test_a_client_that_accepts_no_form_gets_a_problem(
    recorded_api: Api, accepted: str
) -> None:
    for path in (LARGE, SMALL):
        response = await recorded_api.get(path, 406, {"Accept-Encoding": accepted})
        assert response.json["type"].endswith(":encoding-not-acceptable")


async def test_a_new_block_makes_compressed_responses_outdated(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    etags = []
    for number in range(2):
        transactions = [transaction(index, f"{number} {index}") for index in range(10)]
        await append(client, database_name, [block(number, transactions)])
        response = await api.get(LARGE, headers=COMPRESSED)
        assert gzip.decompress(response.body) == (await api.get(LARGE)).body
        etags.append(response.headers["ETag"])
    await api.get(LARGE, 200, COMPRESSED | {"If-None-Match": etags[0]})
    await api.get(LARGE, 304, COMPRESSED | {"If-None-Match": etags[1]})


async def test_origin_and_encoding_are_both_named_in_vary(
    client: AsyncMongoClient[Any], recorded_database: str
) -> None:
    options = Options(cors_origins=frozenset({"https://explorer.example"}))
    async with running_api(client, {CHANNEL: recorded_database}, options) as api:
        for _ in range(2):  # computed, and from the cache
            response = await api.get(LARGE, headers=COMPRESSED)
            assert response.headers.getall("Vary") == ["Origin", "Accept-Encoding"]


async def test_a_stream_is_not_compressed(recorded_api: Api) -> None:
    response = await recorded_api.request("HEAD", f"{C}/stream", COMPRESSED)
    assert response.status == 200
    assert "Content-Encoding" not in response.headers


async def test_a_cached_response_is_compressed_once_for_each_coding() -> None:
    bodies = CompressedBodies(max_bytes=1 << 16)
    random_bytes = random.Random(1).randbytes
    first, too_large = b"a" * 5000, random_bytes(1 << 16)
    cached = {coding: await bodies.get(first, "etag", coding) for coding in Coding}
    for coding in Coding:
        assert DECOMPRESS[coding](cached[coding]) == first
    for number in range(20):
        body = random_bytes(10_000)
        for coding in Coding:
            assert DECOMPRESS[coding](await bodies.get(body, f"{number}", coding)) == body
            assert bodies.bytes <= 1 << 16
            assert await bodies.get(b"", "etag", coding) is cached[coding], "it was used last"
    for coding in Coding:
        for etag, body in ((None, b"never cached"), ("large", too_large), ("large", b"new")):
            assert DECOMPRESS[coding](await bodies.get(body, etag, coding)) == body


@pytest.mark.parametrize("coding", Coding)
async def test_the_event_loop_runs_while_a_large_body_is_compressed(coding: Coding) -> None:
    body = random.Random(1).randbytes(20 << 20)
    compression = asyncio.create_task(CompressedBodies(0).get(body, "etag", coding))
    turns = 0
    async with asyncio.timeout(60):
        while not (await asyncio.wait([compression], timeout=0.001))[0]:
            turns += 1
    assert turns > 1
    assert DECOMPRESS[coding](compression.result()) == body, "with a window of at most 8 MB"
