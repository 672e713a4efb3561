"""From a request to its answer: finds the channel, parses the parameters, calls the handler, writes JSON.

The handlers of a route get what they asked for, already checked, and know nothing of HTTP.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from aiohttp import web

from explorer_api.channels import Channel, Channels, Standing
from explorer_api.database import Database, timed_out
from explorer_api.parameters import Parameter, Query, UnindexedFilter, read_query
from explorer_api.problems import ProblemError, channel_not_found
from explorer_api.values import encode_json

NO_STORE: Final = "no-store"
NO_CACHE: Final = "no-cache"
ONE_DAY: Final = "max-age=86400"
IMMUTABLE: Final = "max-age=31536000, immutable"

Handler = Callable[["Call"], Awaitable["Answer"]]
ChannelHandler = Callable[["ChannelCall"], Awaitable["Answer"]]


@dataclass(frozen=True)
class Answer:
    """What to answer: anything msgspec encodes, and the Cache-Control. Whatever may be kept has an ETag."""

    body: Any
    caching: str


@dataclass(frozen=True)
class Services:
    """What handlers work with."""

    channels: Channels
    database: Database
    version: str
    seconds_per_request: float
    started_at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Call:
    """A request. `path` holds the percent-decoded bytes of the path's variables."""

    services: Services
    path: dict[str, bytes]
    query: Query


@dataclass(frozen=True)
class ChannelCall(Call):
    """A request about a channel, and where that stands."""

    channel: Channel
    standing: Standing

    @property
    def last(self) -> int:
        """The highest block that may be shown, -1 if there is none."""
        return self.standing.height - 1


@dataclass(frozen=True)
class Route:
    """A route that is not about one channel."""

    path: str
    handler: Handler
    asks_database: bool = True


@dataclass(frozen=True)
class ChannelRoute:
    """A route about one channel: its path has the variable `{channel}`."""

    path: str
    handler: ChannelHandler
    parameters: tuple[Parameter[Any], ...] = ()
    unindexed: tuple[UnindexedFilter, ...] = ()


def bind(route: Route | ChannelRoute, services: Services) -> web.RouteDef:
    """The route as aiohttp serves it, HEAD included. Its answer, or `ProblemError`, comes in time."""

    async def handle(request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(services.seconds_per_request):
                if isinstance(route, ChannelRoute):
                    return await _about_channel(request, route, services)
                return await _general(request, route, services)
        except TimeoutError:
            raise timed_out() from None

    return web.get(route.path.replace("}", ":[^/]+}"), handle)


async def _general(request: web.Request, route: Route, services: Services) -> web.Response:
    call = Call(services, _path_values(request, route.path), read_query(request.rel_url.raw_query_string, (), ()))
    if not route.asks_database:
        return _respond(request, await route.handler(call), {})
    with services.database.calls():
        return _respond(request, await route.handler(call), {})


async def _about_channel(request: web.Request, route: ChannelRoute, services: Services) -> web.Response:
    path = _path_values(request, route.path)
    headers: dict[str, str] = {}
    try:
        with services.database.calls():
            channel = await _find_channel(path["channel"], services.channels)
            standing = await channel.standing()
            headers = standing.headers
            query = read_query(request.rel_url.raw_query_string, route.parameters, route.unindexed)
            return _respond(
                request, await route.handler(ChannelCall(services, path, query, channel, standing)), headers
            )
    except ProblemError as problem:
        problem.headers.update(headers)
        raise


async def _find_channel(name: bytes, channels: Channels) -> Channel:
    text = name.decode(errors="backslashreplace")
    channel = await channels.find(text)
    if channel is None:
        raise channel_not_found(text, [known.name for known in await channels.all()])
    return channel


def _path_values(request: web.Request, template: str) -> dict[str, bytes]:
    """The path's variables, decoded once from the path as it came: any bytes, slashes included."""
    segments = request.rel_url.raw_path.encode(errors="surrogateescape").split(b"/")
    return {
        name[1:-1]: unquote_to_bytes(segment)
        for name, segment in zip(template.split("/"), segments, strict=True)
        if name.startswith("{")
    }


def _respond(request: web.Request, answer: Answer, headers: dict[str, str]) -> web.Response:
    body = encode_json(answer.body)
    headers = {**headers, "Cache-Control": answer.caching}
    if answer.caching != NO_STORE:
        etag = sha256(body).hexdigest()[:32]
        headers["ETag"] = f'"{etag}"'
        if any(known.value in (etag, "*") for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type="application/json", headers=headers)
