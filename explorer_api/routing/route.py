"""Routes: the entries of the route table, from which requests are served and documented."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from explorer_api.http.parameters import Parameter, ParameterFamily
from explorer_api.http.responses import JSON, NO_CACHE, ApiResponse
from explorer_api.routing.calls import Call, ChannelCall

Handler = Callable[[Call], Awaitable[ApiResponse]]
ChannelHandler = Callable[[ChannelCall], Awaitable[ApiResponse]]
StreamHandler = Callable[
    [ChannelCall, web.Request], Awaitable[Callable[[], Awaitable[web.StreamResponse]]]
]


@dataclass(frozen=True, kw_only=True)
class _DocumentedRoute:
    """The documented properties of a route; its summary is the first sentence of the handler's docstring."""

    path: str
    """The template of the path, with variables in braces."""
    tag: str
    body_type: Any
    content_type: str = JSON
    statuses: tuple[int, ...] = (200,)
    other_body_types: Mapping[int, Any] = field(default_factory=dict)
    """The types of bodies with other statuses, problems excepted."""
    problems: tuple[str, ...] = ()
    """The problem kinds that do not follow from the path and the parameters."""
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
class ChannelRoute(_DocumentedRoute):
    """A route about one channel: its path has the variable `{channel}`."""

    handler: ChannelHandler
    costly: bool = False
    """Whether responses are also cached in Redis."""


@dataclass(frozen=True, kw_only=True)
class StreamRoute(_DocumentedRoute):
    """A route about one channel whose response is a stream.

    The handler checks the request within the time limit, and returns the function that sends the
    stream without one.
    """

    handler: StreamHandler


AnyRoute = Route | ChannelRoute | StreamRoute
