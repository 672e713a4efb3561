"""Expensive responses are computed by one of several processes that share a Redis."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from cli.assembly.redis import redis_client
from explorer_api.http.problems import ProblemError
from explorer_api.http.responses import NO_CACHE, ApiResponse
from explorer_api.options import Options
from explorer_api.routes import CHANNEL as CHANNEL_PATH
from explorer_api.routes import ROUTES
from explorer_api.routing.calls import ChannelCall
from explorer_api.routing.route import ChannelRoute
from explorer_api.schemas.status import Status
from ledger.head_topic import head_topic
from tests.eventually import eventually
from tests.explorer_api.support import CHANNEL, Api, C, append, block, running_api

COSTLY = f"{C}/costly"
COMPUTATION_S = 0.2


class Costly:
    """A slow handler that records the heights for which it computes its response."""

    def __init__(self) -> None:
        self.computed: list[int] = []
        self.fails = False

    async def respond(self, call: ChannelCall) -> ApiResponse:
        """The height, slowly."""
        self.computed.append(call.snapshot.height)
        await asyncio.sleep(COMPUTATION_S)
        if self.fails:
            raise ProblemError(404, "gone", "Gone", "It does not exist.", "Ask for another.")
        return ApiResponse({"height": call.snapshot.height}, NO_CACHE)

    @property
    def route(self) -> ChannelRoute:
        return ChannelRoute(
            path=f"{CHANNEL_PATH}/costly",
            handler=self.respond,
            tag="Ledger",
            body_type=Status,
            example=f"{CHANNEL_PATH}/costly",
            costly=True,
        )


@pytest.fixture
def costly() -> Costly:
    return Costly()


@asynccontextmanager
async def two_apis(
    client: AsyncMongoClient[Any], database: str, url: str, costly: Costly
) -> AsyncIterator[list[Api]]:
    async with AsyncExitStack() as stack:
        apis = []
        for _ in range(2):
            redis = redis_client(url)
            stack.push_async_callback(redis.aclose)
            api = running_api(
                client,
                {CHANNEL: database},
                Options(head_age_s=60.0),
                redis=redis,
                routes=(*ROUTES, costly.route),
            )
            apis.append(await stack.enter_async_context(api))
        yield apis


Summary = tuple[int, str | None, str | None]


async def request_from_all(apis: list[Api]) -> set[Summary]:
    """Return the different statuses, ETags and heights of the responses to many requests."""
    responses = await asyncio.gather(*(api.request("GET", COSTLY) for api in apis * 20))
    return {
        (response.status, response.headers.get("ETag"), response.headers.get("Ledger-Height"))
        for response in responses
    }


async def announce(redis: Redis, database: str, apis: list[Api], height: int) -> None:
    """Announce a block as the daemon does, until every API has read the new head."""

    async def heights() -> set[str]:
        await redis.publish(head_topic(database), str(height))
        path = f"/api/v1/channels/{CHANNEL}/blocks"
        responses = [await api.request("GET", path) for api in apis]
        return {response.headers["Ledger-Height"] for response in responses}

    await eventually(heights, lambda shown: shown == {str(height)}, describe="the heights")


async def test_an_expensive_response_is_computed_by_one_process(
    client: AsyncMongoClient[Any], database_name: str, redis_url: str, costly: Costly
) -> None:
    await append(client, database_name, [block(0, [])])
    async with (
        two_apis(client, database_name, redis_url, costly) as apis,
        Redis.from_url(redis_url) as operator,
    ):
        began = time.monotonic()
        assert len(await request_from_all(apis)) == 1
        assert time.monotonic() - began < 5
        assert costly.computed == [1]
        await append(client, database_name, [block(1, [])])
        await announce(operator, database_name, apis, 2)
        ((status, _, height),) = await request_from_all(apis)
        assert (status, height, costly.computed) == (200, "2", [1, 2])


async def test_a_failed_computation_is_not_cached(
    client: AsyncMongoClient[Any], database_name: str, redis_url: str, costly: Costly
) -> None:
    """The other process computes the response itself, instead of waiting until the lock expires."""
    await append(client, database_name, [block(0, [])])
    async with two_apis(client, database_name, redis_url, costly) as apis:
        costly.fails = True
        began = time.monotonic()
        ((status, _, _),) = await request_from_all(apis)
        assert status == 404
        assert time.monotonic() - began < 5
        costly.fails = False
        ((status, _, _),) = await request_from_all(apis)
        assert status == 200
