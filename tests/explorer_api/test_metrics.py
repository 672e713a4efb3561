"""The metrics of the API, as Prometheus scrapes them."""

import asyncio
import random
import re
from typing import Any

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from pymongo import AsyncMongoClient

from cli.assembly.redis import redis_client
from explorer_api.options import Options
from explorer_api.routes import ROUTES
from tests.explorer_api.support import CHANNEL, Api, C, running_api


async def scrape(api: Api) -> dict[str, Metric]:
    response = await api.get("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(response.body.decode()))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def values(family: Metric, *labels: str) -> dict[tuple[str, ...], float]:
    """Return the values of a counter or gauge by its labels."""
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


REQUESTS = [
    *[("GET", f"{C}/blocks/{n}", 200) for n in range(5)],
    *[("GET", f"{C}/blocks/999", 404)] * 2,
    ("HEAD", f"{C}/blocks/1", 200),
    ("POST", f"{C}/blocks/1", 405),
    ("GET", "/api/v1/status", 200),
    ("GET", "/nowhere", 404),
    ("GET", f"{C}/blocks?limit=0", 400),
    ("DELETE", "/live", 405),
    ("GET", "/live", 200),
]


async def test_requests_are_counted_by_route(recorded_api: Api) -> None:
    for method, path, status in REQUESTS:
        assert (await recorded_api.request(method, path)).status == status
    etag = (await recorded_api.get(f"{C}/blocks/1")).headers["ETag"]
    await recorded_api.get(f"{C}/blocks/1", 304, {"If-None-Match": etag})
    metrics = await scrape(recorded_api)
    blocks_route = "/api/v1/channels/{channel}/blocks"
    block_route = f"{blocks_route}/{{block}}"
    counted = values(metrics["kindledger_api_requests"], "route", "method", "status")
    assert counted == {
        (block_route, "GET", "200"): 6,
        (block_route, "GET", "304"): 1,
        (block_route, "GET", "404"): 2,
        (block_route, "HEAD", "200"): 1,
        ("/api/v1/status", "GET", "200"): 1,
        ("/live", "GET", "200"): 1,
        (blocks_route, "GET", "400"): 1,
        ("none", "GET", "404"): 1,
        ("none", "other", "405"): 2,
    }
    durations = metrics["kindledger_api_request_duration_seconds"]
    counts = {s.labels["route"]: s.value for s in durations.samples if s.name.endswith("_count")}
    assert counts[block_route] == 10
    assert values(metrics["kindledger_api_requests_in_progress"]) == {(): 1}, "the scrape itself"
    assert values(metrics["kindledger_api_channel_height"], "channel") == {(CHANNEL,): 136}
    (age,) = values(metrics["kindledger_api_head_age_seconds"]).values()
    assert 0 <= age < 10
    lookups = values(metrics["kindledger_api_cache_requests"], "cache", "result")
    assert lookups == {("memory", "hit"): 3, ("memory", "miss"): 8}, "of cacheable responses"
    assert values(metrics["kindledger_api_cache_bytes"])[()] > 0


async def test_names_and_units_follow_the_conventions_of_prometheus(
    client: AsyncMongoClient[Any], recorded_database: str
) -> None:
    redis = redis_client("redis://127.0.0.1:1/0")
    options = Options(requests_per_minute=1)
    async with running_api(client, {CHANNEL: recorded_database}, options, redis=redis) as api:
        await api.channel("/blocks")
        metrics = await scrape(api)
    await redis.aclose()
    assert len(metrics) >= 8
    for family in metrics.values():
        if family.name.endswith("_created"):
            continue
        assert re.fullmatch(r"kindledger_api(_[a-z]+)+", family.name)
        assert re.fullmatch(r"[A-Z].*\.", family.documentation)
        assert family.type in ("counter", "gauge", "histogram")
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|count|total)$", family.name), (
            "base units, and each suffix once"
        )
        for sample in family.samples:
            assert family.type != "counter" or sample.name.endswith(("_total", "_created"))
            reserved = {"le", "quantile", "instance", "job"} & sample.labels.keys()
            assert not reserved or family.type == "histogram"


SHAPES = [
    "/{}",
    "/api/v1/{}",
    "/api/v1/channels/{}/blocks",
    C + "/{}",
    C + "/blocks/{}",
    C + "/transactions/{}",
    C + "/blocks?{}=1",
    "/live/{}",
    "/api/v1/transactions/{}",
    C + "/keys/{0}/{0}/history",
]
METHODS = [
    *("GET", "GET", "HEAD", "POST", "PUT"),
    *("PATCH", "DELETE", "TRACE", "PROPFIND", "QUERY"),
]


async def test_the_number_of_label_values_is_bounded(recorded_api: Api) -> None:
    """Each value of a label takes memory for the life of the process."""
    random.seed(5)
    alphabet = "abcdefghijklmnopqrstuvwxyz0123456789-_.%2F"

    async def request_random_path() -> None:
        word = "".join(random.choices(alphabet, k=12)).replace("%", "")
        await recorded_api.request(random.choice(METHODS), random.choice(SHAPES).format(word))

    for _ in range(20):
        await asyncio.gather(*(request_random_path() for _ in range(50)))
    metrics = await scrape(recorded_api)
    counted = values(metrics["kindledger_api_requests"], "route", "method", "status")
    assert sum(counted.values()) == 1000
    assert {route for route, _, _ in counted} <= {route.path for route in ROUTES} | {"none"}
    assert {method for _, method, _ in counted} <= {"GET", "HEAD", "other"}
    assert {status for _, _, status in counted} <= {"200", "400", "404", "405"}
    assert len(counted) < 60
