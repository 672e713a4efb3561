"""Routes: the entries of the route table, from which requests are served and documented."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from aiohttp import web

from explorer_api.http.parameters import Parameter, ParameterFamily
from explorer_api.http.responses import JSON, NO_CACHE, ApiResponse
from explorer_api.routing.calls import Call, ChannelCall
from explorer_api.routing.page_request import Filters, PageRequest, read_page_request

F = TypeVar("F", bound=Filters)

Handler = Callable[[Call], Awaitable[ApiResponse]]
ChannelHandler = Callable[[ChannelCall], Awaitable[ApiResponse]]
StreamHandler = Callable[
    [ChannelCall, web.Request], Awaitable[Callable[[], Awaitable[web.StreamResponse]]]
]


@dataclass(frozen=True, kw_only=True)
class _DocumentedRoute:
    """The properties of a route that are documented.

    Its summary is the first sentence of the handler's docstring.
    """

    path: str
    """The template of the path, with variables in braces."""
    tag: str
    body_type: Any
    content_type: str = JSON
    statuses: tuple[int, ...] = (200,)
    other_body_types: Mapping[int, Any] = field(default_factory=dict)
    """The types of bodies with other statuses, problems excepted."""
    problems: tuple[str, ...] = ()
    """The problem kinds besides those that follow from the path and the parameters."""
    cache_controls: tuple[str, ...] = (NO_CACHE,)
    """Every `Cache-Control` that a response can have."""
    example: str
    """A path and query that works on the demo's ledger."""
    parameters: tuple[Parameter[Any], ...] = ()
    families: tuple[ParameterFamily, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Route(_DocumentedRoute):
    """A route that is not about one channel."""

    handler: Handler
    asks_database: bool = True
    """Whether the documentation lists the problems of an unavailable database."""


@dataclass(frozen=True, kw_only=True)
class CachedRoute(_DocumentedRoute, ABC):
    """A route about one channel whose responses are cached in memory.

    The path of a route about one channel has the variable `{channel}`.
    """

    costly: bool = False
    """Whether responses are also cached in Redis."""

    @abstractmethod
    async def respond(self, call: ChannelCall) -> ApiResponse:
        """Return the response. Raises `ProblemError` for a wrong parameter."""


@dataclass(frozen=True, kw_only=True)
class ChannelRoute(CachedRoute):
    """A route about one channel, or about one object in it."""

    handler: ChannelHandler

    async def respond(self, call: ChannelCall) -> ApiResponse:
        """Return the response."""
        return await self.handler(call)


@dataclass(frozen=True, kw_only=True)
class ListRoute(CachedRoute, Generic[F]):
    """A route that lists objects of one channel page by page.

    The handler gets the filters, parsed by `read_filters`, and the page request. Cursors are only
    valid for the list of the same `list_name`.
    """

    list_name: str
    read_filters: Callable[[ChannelCall], F]
    handler: Callable[[ChannelCall, F, PageRequest], Awaitable[ApiResponse]]

    async def respond(self, call: ChannelCall) -> ApiResponse:
        """Return the response. Raises `ProblemError` for a wrong filter or cursor."""
        filters = self.read_filters(call)
        page_request = read_page_request(call, self.list_name, filters.digest_parts())
        return await self.handler(call, filters, page_request)


@dataclass(frozen=True, kw_only=True)
class StreamRoute(_DocumentedRoute):
    """A route about one channel whose response is a stream.

    The handler checks the request within the time limit, and returns the function that sends the
    stream without one.
    """

    handler: StreamHandler


AnyRoute = Route | ChannelRoute | ListRoute[Any] | StreamRoute
