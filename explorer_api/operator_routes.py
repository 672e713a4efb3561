"""The routes for operators, which are not below the path of the API."""

from typing import Any, Final

from explorer_api.http.responses import NO_STORE
from explorer_api.resources.documentation import HTML, get_docs, get_openapi
from explorer_api.resources.health import health, live, ready
from explorer_api.resources.metrics import PROMETHEUS, expose_metrics
from explorer_api.routing.route import Route
from explorer_api.schemas.health import Health, Liveness

OPERATIONS: Final = "Operations"

OPERATOR_ROUTES: Final = (
    Route(
        path="/live",
        handler=live,
        tag=OPERATIONS,
        body_type=Liveness,
        asks_database=False,
        cache_controls=(NO_STORE,),
        example="/live",
    ),
    Route(
        path="/ready",
        handler=ready,
        tag=OPERATIONS,
        body_type=Liveness,
        cache_controls=(NO_STORE,),
        example="/ready",
    ),
    Route(
        path="/health",
        handler=health,
        tag=OPERATIONS,
        body_type=Health,
        cache_controls=(NO_STORE,),
        statuses=(200, 202, 503),
        asks_database=False,
        example="/health",
    ),
    Route(
        path="/metrics",
        handler=expose_metrics,
        tag=OPERATIONS,
        body_type=str,
        cache_controls=(NO_STORE,),
        content_type=PROMETHEUS,
        asks_database=False,
        example="/metrics",
    ),
    Route(
        path="/openapi.json",
        handler=get_openapi,
        tag=OPERATIONS,
        body_type=dict[str, Any],
        cache_controls=(NO_STORE,),
        asks_database=False,
        example="/openapi.json",
    ),
    Route(
        path="/docs",
        handler=get_docs,
        tag=OPERATIONS,
        body_type=str,
        content_type=HTML,
        cache_controls=(NO_STORE,),
        asks_database=False,
        example="/docs",
    ),
)
