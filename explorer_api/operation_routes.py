"""The routes that tell operators how the service is, and its documentation."""

from typing import Any, Final

from explorer_api.http.responses import NO_STORE
from explorer_api.resources.documentation import HTML, get_docs, get_openapi
from explorer_api.resources.health import health, live, ready
from explorer_api.resources.links import API
from explorer_api.resources.metrics import PROMETHEUS, expose_metrics
from explorer_api.resources.status import get_status, get_status_history
from explorer_api.routing.route import AnyRoute, Route
from explorer_api.schemas.health import Health, Liveness
from explorer_api.schemas.status import Status
from explorer_api.schemas.status_history import StatusHistory

_OPERATIONS = "Operations"

OPERATION_ROUTES: Final[tuple[AnyRoute, ...]] = (
    Route(
        path=f"{API}/status",
        handler=get_status,
        tag=_OPERATIONS,
        body_type=Status,
        cache_controls=(NO_STORE,),
        example=f"{API}/status",
    ),
    Route(
        path=f"{API}/status/history",
        handler=get_status_history,
        tag=_OPERATIONS,
        body_type=StatusHistory,
        cache_controls=(NO_STORE,),
        asks_database=False,
        example=f"{API}/status/history",
    ),
    Route(
        path="/live",
        handler=live,
        tag=_OPERATIONS,
        body_type=Liveness,
        asks_database=False,
        cache_controls=(NO_STORE,),
        example="/live",
    ),
    Route(
        path="/ready",
        handler=ready,
        tag=_OPERATIONS,
        body_type=Liveness,
        cache_controls=(NO_STORE,),
        example="/ready",
    ),
    Route(
        path="/health",
        handler=health,
        tag=_OPERATIONS,
        body_type=Health,
        cache_controls=(NO_STORE,),
        statuses=(200, 202, 503),
        asks_database=False,
        example="/health",
    ),
    Route(
        path="/metrics",
        handler=expose_metrics,
        tag=_OPERATIONS,
        body_type=str,
        cache_controls=(NO_STORE,),
        content_type=PROMETHEUS,
        asks_database=False,
        example="/metrics",
    ),
    Route(
        path="/openapi.json",
        handler=get_openapi,
        tag=_OPERATIONS,
        body_type=dict[str, Any],
        cache_controls=(NO_STORE,),
        asks_database=False,
        example="/openapi.json",
    ),
    Route(
        path="/docs",
        handler=get_docs,
        tag=_OPERATIONS,
        body_type=str,
        content_type=HTML,
        cache_controls=(NO_STORE,),
        asks_database=False,
        example="/docs",
    ),
)
