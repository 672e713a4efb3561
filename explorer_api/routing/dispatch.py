"""Serves routes: parses requests, reads the head, computes responses, and caches them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from urllib.parse import unquote_to_bytes

from aiohttp import web

from explorer_api.http.parameters import read_query
from explorer_api.http.problems import ProblemError, channel_not_found
from explorer_api.http.responses import EncodedResponse, encode_response, http_response
from explorer_api.live.channels import Channel, Channels
from explorer_api.live.heads import HeadSnapshot
from explorer_api.live.mongo_calls import timed_out
from explorer_api.routing.calls import Call, ChannelCall, StaleHeadError
from explorer_api.routing.route import AnyRoute, CachedRoute, Route, StreamRoute
from explorer_api.routing.services import Services


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
        async with self._time_limit():
            query = read_query(request.rel_url.raw_query_string, route.parameters, route.families)
            call = Call(self._services, _path_values(request, route.path), query)
            response = encode_response(await route.handler(call))
        return http_response(request, response)

    async def _serve_channel(self, route: CachedRoute, request: web.Request) -> web.Response:
        self._services.response_cache.misses += 1
        async with self._time_limit():
            call = await self._parse_channel_call(route, request)
            try:
                response = await self._respond_once(route, call, request.raw_path)
            except StaleHeadError:
                with self._heights_in_problems(call.snapshot):
                    snapshot = await call.channel.watch.read_now()
                call = replace(call, snapshot=snapshot, head_is_fresh=True)
                response = await self._respond_once(route, call, request.raw_path)
        return http_response(request, response, call.snapshot.headers)

    async def _serve_stream(self, route: StreamRoute, request: web.Request) -> web.StreamResponse:
        async with self._time_limit():
            call = await self._parse_channel_call(route, request)
            with self._heights_in_problems(call.snapshot):
                send = await route.handler(call, request)
        return await send()

    async def _parse_channel_call(
        self, route: CachedRoute | StreamRoute, request: web.Request
    ) -> ChannelCall:
        path = _path_values(request, route.path)
        channel = await _find_channel(path["channel"], self._services.channels)
        snapshot = await channel.watch.recent()
        with self._heights_in_problems(snapshot):
            query = read_query(request.rel_url.raw_query_string, route.parameters, route.families)
        return ChannelCall(self._services, path, query, channel, snapshot)

    async def _respond_once(
        self, route: CachedRoute, call: ChannelCall, cache_key: str
    ) -> EncodedResponse:
        """Compute the response once for all requests that ask for it at the same time."""
        return await self._services.single_flight.once(
            (cache_key, call.snapshot.version, call.head_is_fresh),
            partial(self._respond, route, call, cache_key),
        )

    async def _respond(
        self, route: CachedRoute, call: ChannelCall, cache_key: str
    ) -> EncodedResponse:
        redis_cache, snapshot = self._services.redis_cache, call.snapshot
        compute = partial(self._compute, route, call)
        if route.costly and redis_cache is not None:
            response = await redis_cache.get_or_compute(snapshot.version, cache_key, compute)
        else:
            response = await compute()
        self._services.response_cache.put(
            cache_key, route.path, response, call.channel.watch, snapshot
        )
        return response

    async def _compute(self, route: CachedRoute, call: ChannelCall) -> EncodedResponse:
        with self._heights_in_problems(call.snapshot):
            return encode_response(await route.respond(call))

    @asynccontextmanager
    async def _time_limit(self) -> AsyncIterator[None]:
        """Raise `ProblemError` when a request takes too long, or MongoDB cannot answer."""
        try:
            async with asyncio.timeout(self._services.options.seconds_per_request):
                with self._services.mongo_calls.bounded():
                    yield
        except TimeoutError:
            raise timed_out() from None

    @contextmanager
    def _heights_in_problems(self, snapshot: HeadSnapshot) -> Iterator[None]:
        """Add the channel's heights to every problem raised inside, MongoDB's problems included."""
        try:
            with self._services.mongo_calls.bounded():
                yield
        except ProblemError as problem:
            problem.headers.update(snapshot.headers)
            raise


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
