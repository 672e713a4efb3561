"""The documentation of the API: the OpenAPI document, and the page for readers."""

from typing import Final

from explorer_api.http.responses import NO_STORE, ApiResponse
from explorer_api.routing.calls import Call

HTML: Final = "text/html; charset=utf-8"


async def get_openapi(call: Call) -> ApiResponse:
    """Return the description of this API in OpenAPI 3.1, generated from its routes."""
    return ApiResponse(call.services.documentation.openapi, NO_STORE)


async def get_docs(call: Call) -> ApiResponse:
    """Return the documentation page: every route, its parameters and its responses."""
    documentation = call.services.documentation
    headers = {"Content-Security-Policy": documentation.page_policy}
    return ApiResponse(documentation.page, NO_STORE, content_type=HTML, headers=headers)
