"""Serves routes: parses requests, reads the head, computes responses, and caches them."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from aiohttp import web

from explorer_api.http.parameters import read_query
from explorer_api.http.problems import ProblemError, channel_not_found
from explorer_api.http.responses import EncodedResponse, encode_response, http_response
from explorer_api.live.channels import Channel, Channels
from explorer_api.live.missing_indexes import explain_missing_indexes
from explorer_api.live.mongo_calls import timed_out
from explorer_api.routing.calls import Call, ChannelCall, StaleHeadError
from explorer_api.routing.route import AnyRoute, CachedRoute, Route, StreamRoute
from explorer_api.routing.services import Services

T = TypeVar("T")


class Dispatcher:
    """Binds routes to aiohttp: parses requests for the handlers, and encodes their responses."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def bind(self, route: AnyRoute) -> web.RouteDef:
        """Return the route as aiohttp serves it, for GET and HEAD."""
        path = _aiohttp_path(route.path)
        if isinstance(route, StreamRoute):
            return web.get(path, partial(self._serve_stream, route))
        if isinstance(route, CachedRoute):
            return web.get(path, partial(self._serve_channel, route))
        return web.get(path, partial(self._serve, route))

    async def _serve(self, route: Route, request: web.Request) -> web.Response:
        response = await self._limited(self._handle(route, request), {})
        return await http_response(request, response, self._services.compressed_bodies)

    async def _handle(self, route: Route, request: web.Request) -> EncodedResponse:
        query = read_query(request.rel_url.raw_query_string, route.parameters, route.families)
        call = Call(self._services, _path_values(request, route.path), query)
        return encode_response(await route.handler(call))

    async def _serve_channel(self, route: CachedRoute, request: web.Request) -> web.Response:
        self._services.response_cache.misses += 1
        heights: dict[str, str] = {}
        response = await self._limited(self._handle_cached(route, request, heights), heights)
        bodies = self._services.compressed_bodies
        return await http_response(request, response, bodies, heights)

    async def _handle_cached(
        self, route: CachedRoute, request: web.Request, heights: dict[str, str]
    ) -> EncodedResponse:
        call = await self._parse_channel_call(route, request, heights)
        try:
            return await self._respond_once(route, call, request.raw_path)
        except StaleHeadError:
            snapshot = await call.channel.watch.read_now()
            heights.update(snapshot.headers)
            call = replace(call, snapshot=snapshot, head_is_fresh=True)
            return await self._respond_once(route, call, request.raw_path)

    async def _serve_stream(self, route: StreamRoute, request: web.Request) -> web.StreamResponse:
        heights: dict[str, str] = {}
        send = await self._limited(self._open_stream(route, request, heights), heights)
        return await send()

    async def _open_stream(
        self, route: StreamRoute, request: web.Request, heights: dict[str, str]
    ) -> Callable[[], Awaitable[web.StreamResponse]]:
        call = await self._parse_channel_call(route, request, heights)
        with explain_missing_indexes(call.snapshot):
            return await route.handler(call, request)

    async def _parse_channel_call(
        self, route: CachedRoute | StreamRoute, request: web.Request, heights: dict[str, str]
    ) -> ChannelCall:
        """Return the parsed request; put the response headers with the heights into `heights`."""
        path = _path_values(request, route.path)
        channel = await _find_channel(path["channel"], self._services.channels)
        snapshot = await channel.watch.recent()
        heights.update(snapshot.headers)
        query = read_query(request.rel_url.raw_query_string, route.parameters, route.families)
        return ChannelCall(self._services, path, query, channel, snapshot)

    async def _respond_once(
        self, route: CachedRoute, call: ChannelCall, cache_key: str
    ) -> EncodedResponse:
        """Compute the response once for all requests that ask for it at the same time."""
        return await self._services.single_flight.once(
            (cache_key, call.snapshot.content_version, call.head_is_fresh),
            partial(self._respond, route, call, cache_key),
        )

    async def _respond(
        self, route: CachedRoute, call: ChannelCall, cache_key: str
    ) -> EncodedResponse:
        redis_cache, snapshot = self._services.redis_cache, call.snapshot
        if route.costly and redis_cache is not None:
            compute = partial(_compute, route, call)
            response = await redis_cache.get_or_compute(
                snapshot.content_version, cache_key, compute
            )
        else:
            response = await _compute(route, call)
        self._services.response_cache.put(
            cache_key, route.path, response, call.channel.watch, snapshot
        )
        return response

    async def _limited(self, work: Coroutine[Any, Any, T], heights: Mapping[str, str]) -> T:
        """Return the result of the work.

        Raises `ProblemError` when it takes too long, or MongoDB cannot answer. `heights` are the
        headers of all other problems; the work may add them while it lasts.
        """
        try:
            async with asyncio.timeout(self._services.options.seconds_per_request):
                with self._services.mongo_calls.bounded():
                    return await work
        except TimeoutError:
            raise timed_out() from None
        except ProblemError as problem:
            problem.headers.update(heights)
            raise


async def _compute(route: CachedRoute, call: ChannelCall) -> EncodedResponse:
    with explain_missing_indexes(call.snapshot):
        return encode_response(await route.respond(call))


def _aiohttp_path(template: str) -> str:
    """Return the path in aiohttp's syntax; a variable matches any segment that is not empty."""
    return template.replace("}", ":[^/]+}")


async def _find_channel(name: bytes, channels: Channels) -> Channel:
    """Return the channel of that name. Raises `ProblemError` if there is none."""
    text = name.decode(errors="backslashreplace")
    channel = await channels.find(text)
    if channel is None:
        raise channel_not_found(text, [indexed.name for indexed in await channels.all()])
    return channel


def _path_values(request: web.Request, template: str) -> dict[str, bytes]:
    """Return the percent-decoded bytes of the path variables, which may contain slashes."""
    segments = request.rel_url.raw_path.encode(errors="surrogateescape").split(b"/")
    return {
        name[1:-1]: unquote_to_bytes(segment)
        for name, segment in zip(template.split("/"), segments, strict=True)
        if name.startswith("{")
    }
