"""The metrics of this process."""

from typing import Final

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from explorer_api.http.responses import NO_STORE, ApiResponse
from explorer_api.routing.calls import Call

PROMETHEUS: Final = CONTENT_TYPE_PLAIN_0_0_4


async def expose_metrics(call: Call) -> ApiResponse:
    """Return the metrics of this process in the text format of Prometheus."""
    return ApiResponse(
        generate_latest(call.services.request_metrics.registry), NO_STORE, content_type=PROMETHEUS
    )
