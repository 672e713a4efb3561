"""From a request to its answer: finds the channel, parses the parameters, calls the handler, keeps what it gave.

The handlers of a route get what they asked for, already checked, and know nothing of HTTP.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from aiohttp import web

from explorer_api.docs.documentation import Documentation
from explorer_api.http.parameters import Parameter, ParameterFamily, Query, read_query
from explorer_api.http.problems import ProblemError, channel_not_found
from explorer_api.http.request_metrics import ApiMetrics
from explorer_api.http.responses import (
    NO_CACHE,
    ApiResponse,
    EncodedResponse,
    encode_response,
    http_response,
)
from explorer_api.live.channels import Channel, Channels
from explorer_api.live.heads import HeadSnapshot
from explorer_api.live.mongo_calls import MongoCalls, timed_out
from explorer_api.live.redis_cache import SharedCache
from explorer_api.live.response_cache import ResponseCache
from explorer_api.live.status_history import StatusRecorder
from explorer_api.live.status_since import StatusSince
from explorer_api.options import Options
from explorer_api.streams.open_streams import OpenStreams
from explorer_api.streams.replays import Replays
from reconciliation.reports import BusinessReports
from runtime.single_flight import SingleFlight

Handler = Callable[["Call"], Awaitable[ApiResponse]]
ChannelHandler = Callable[["ChannelCall"], Awaitable[ApiResponse]]
StreamHandler = Callable[
    ["ChannelCall", web.Request], Awaitable[Callable[[], Awaitable[web.StreamResponse]]]
]

T = TypeVar("T")


class StaleHeadError(Exception):
    """What was asked for may exist above the head that is known: read that again, and try once more."""


@dataclass(frozen=True)
class Services:
    """What handlers work with."""

    channels: Channels
    database: MongoCalls
    options: Options
    version: str
    cache: ResponseCache
    shared: SharedCache | None
    business: BusinessReports | None
    metrics: ApiMetrics
    documentation: Documentation
    history: StatusRecorder
    streams: OpenStreams
    replays: Replays
    flights: SingleFlight[EncodedResponse] = field(default_factory=SingleFlight)
    since: StatusSince = field(default_factory=StatusSince)
    started_at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Call:
    """A request. `path` holds the percent-decoded bytes of the path's variables."""

    services: Services
    path: dict[str, bytes]
    query: Query


@dataclass(frozen=True)
class ChannelCall(Call):
    """A request about a channel, and where that stands; `certain` if that was read after the request came."""

    channel: Channel
    standing: HeadSnapshot
    certain: bool = False

    @property
    def last(self) -> int:
        """The highest block that may be shown, -1 if there is none."""
        return self.standing.height - 1

    def doubt(self) -> None:
        """To be called before saying that something is not there, which a newer head may have brought."""
        if not self.certain:
            raise StaleHeadError


@dataclass(frozen=True, kw_only=True)
class _Described:
    """What the documentation says of a route; its summary is the first sentence of the handler's docstring."""

    path: str
    tag: str
    answers: Any
    """The type of the answer's body."""
    content_type: str = "application/json"
    statuses: tuple[int, ...] = (200,)
    others: Mapping[int, Any] = field(default_factory=dict)
    """The types of bodies with other statuses, problems excepted."""
    problems: tuple[str, ...] = ()
    """The kinds of problems that do not follow from the path and the parameters; see `problem_kinds`."""
    caching: tuple[str, ...] = (NO_CACHE,)
    """Each Cache-Control that answers can have."""
    example: str
    """A path and query that works on the demo's ledger."""
    parameters: tuple[Parameter[Any], ...] = ()
    families: tuple[ParameterFamily, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Route(_Described):
    """A route that is not about one channel."""

    handler: Handler
    asks_database: bool = True
    """Else the documentation leaves out that the database can be away."""


@dataclass(frozen=True, kw_only=True)
class ChannelRoute(_Described):
    """A route about one channel: its path has the variable `{channel}`."""

    handler: ChannelHandler
    costly: bool = False
    """Whether answers are worth a place in Redis."""


@dataclass(frozen=True, kw_only=True)
class StreamRoute(_Described):
    """A route about one channel whose answer lasts: the handler decides in time, and gives what then serves."""

    handler: StreamHandler


AnyRoute = Route | ChannelRoute | StreamRoute


def bind(route: AnyRoute, services: Services) -> web.RouteDef:
    """The route as aiohttp serves it, HEAD included. Its answer, or `ProblemError`, comes in time."""
    if isinstance(route, StreamRoute):
        return web.get(aiohttp_path(route.path), _lasting(route, services))
    make = (
        _ChannelBinding(route, services).make
        if isinstance(route, ChannelRoute)
        else _general(route, services)
    )

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            async with asyncio.timeout(services.options.seconds_per_request):
                return await make(request)
        except TimeoutError:
            raise timed_out() from None

    return web.get(aiohttp_path(route.path), handle)


def aiohttp_path(template: str) -> str:
    """Variables match any segment that is not empty."""
    return template.replace("}", ":[^/]+}")


def _general(route: Route, services: Services) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def make(request: web.Request) -> web.Response:
        query = read_query(request.rel_url.raw_query_string, route.parameters, route.families)
        call = Call(services, path_values(request, route.path), query)
        with services.database.calls():
            return http_response(request, encode_response(await route.handler(call)), None)

    return make


def _lasting(
    route: StreamRoute, services: Services
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            async with asyncio.timeout(services.options.seconds_per_request):
                serve = await _about_channel(request, route, services, route.handler)
        except TimeoutError:
            raise timed_out() from None
        return await serve()

    return handle


async def _about_channel(
    request: web.Request,
    route: ChannelRoute | StreamRoute,
    services: Services,
    act: Callable[[ChannelCall, web.Request], Awaitable[T]],
) -> T:
    """What `act` makes of the request; a problem tells where the channel stands."""
    path = path_values(request, route.path)
    standing: HeadSnapshot | None = None
    try:
        with services.database.calls():
            channel = await find_channel(path["channel"], services.channels)
            standing = await channel.standing()
            query = read_query(request.rel_url.raw_query_string, route.parameters, route.families)
            return await act(ChannelCall(services, path, query, channel, standing), request)
    except ProblemError as problem:
        if standing is not None:
            problem.headers.update(standing.headers)
        raise


class _ChannelBinding:
    """Answers one route about a channel."""

    def __init__(self, route: ChannelRoute, services: Services) -> None:
        self._route, self._services = route, services

    async def make(self, request: web.Request) -> web.Response:
        self._services.cache.misses += 1
        return await _about_channel(request, self._route, self._services, self._respond)

    async def _respond(self, call: ChannelCall, request: web.Request) -> web.Response:
        rendered, standing = await self._answer(call, request.raw_path)
        return http_response(request, rendered, standing)

    async def _answer(
        self, call: ChannelCall, question: str
    ) -> tuple[EncodedResponse, HeadSnapshot]:
        try:
            return await self._kept(call, question), call.standing
        except StaleHeadError:
            standing = await call.channel.watch.newest()
            certain = ChannelCall(
                call.services, call.path, call.query, call.channel, standing, certain=True
            )
            return await self._kept(certain, question), standing

    async def _kept(self, call: ChannelCall, question: str) -> EncodedResponse:
        """Computes the answer once for all who ask it now, and keeps it."""

        async def compute() -> EncodedResponse:
            return encode_response(await self._route.handler(call))

        async def keep() -> EncodedResponse:
            shared = self._services.shared
            if self._route.costly and shared is not None:
                rendered = await shared.through(call.standing.version, question, compute)
            else:
                rendered = await compute()
            self._services.cache.put(
                question, self._route.path, rendered, call.channel.watch, call.standing
            )
            return rendered

        return await self._services.flights.once(
            (question, f"{call.standing.version} {call.certain}"), keep
        )


async def find_channel(name: bytes, channels: Channels) -> Channel:
    """The channel, or the problem that there is none of that name."""
    text = name.decode(errors="backslashreplace")
    channel = await channels.find(text)
    if channel is None:
        raise channel_not_found(text, [known.name for known in await channels.all()])
    return channel


def path_values(request: web.Request, template: str) -> dict[str, bytes]:
    """The path's variables, decoded once from the path as it came: any bytes, slashes included."""
    segments = request.rel_url.raw_path.encode(errors="surrogateescape").split(b"/")
    return {
        name[1:-1]: unquote_to_bytes(segment)
        for name, segment in zip(template.split("/"), segments, strict=True)
        if name.startswith("{")
    }
