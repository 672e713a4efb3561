"""What every answer has: a request id, security headers, and problem details where something went wrong."""

import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import web

from explorer_api.problems import ProblemError, problem_response

log = structlog.get_logger()

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)

SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Server": "kindledger",
}


@web.middleware
async def answer_well(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turns every failure into a problem, and adds the headers that do not depend on the answer."""
    given = request.headers.get("X-Request-ID", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    response: web.StreamResponse
    try:
        response = await handler(request)
    except ProblemError as problem:
        response = problem_response(problem, request_id)
    except web.HTTPException as error:
        response = problem_response(_http_problem(error), request_id)
    except Exception:  # the last resort: logged in full, the client learns the request id only
        log.exception("request_failed", request_id=request_id, method=request.method, route=_route(request))
        response = problem_response(_internal_error(), request_id)
    response.headers.update(SECURITY_HEADERS)
    response.headers["X-Request-ID"] = request_id
    return response


def _route(request: web.Request) -> str | None:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else None


def _http_problem(error: web.HTTPException) -> ProblemError:
    if isinstance(error, web.HTTPMethodNotAllowed):
        return ProblemError(
            405,
            "method-not-allowed",
            "Method not allowed",
            f"{error.method} is not allowed: this API only reads.",
            "Use GET or HEAD.",
            headers={"Allow": ", ".join(sorted(error.allowed_methods))},
        )
    if error.status == 404:
        return ProblemError(
            404,
            "route-not-found",
            "Route not found",
            "There is nothing at this address.",
            "Everything is below /api/v1, such as /api/v1/channels, but for /live and /ready.",
        )
    return ProblemError(
        error.status, "http-error", error.reason, f"The request was refused: {error.reason}.", "Check the request."
    )


def _internal_error() -> ProblemError:
    return ProblemError(
        500,
        "internal-error",
        "Internal error",
        "The answer could not be made: a fault of this program.",
        "Tell the operator the requestId; the log says what happened.",
    )
