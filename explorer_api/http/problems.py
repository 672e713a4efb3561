"""Problems: errors as RFC 9457 problem details, each with a hint that says what to do."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

TYPE_PREFIX: Final = "urn:kindledger:problem:"
RETRY_SECONDS: Final = 2
_MAX_QUOTED_CHARACTERS: Final = 100


class ProblemError(Exception):
    """An error response.

    `name` is the end of the problem's `type`; `members` are further members of the JSON object.
    """

    def __init__(
        self,
        status: int,
        name: str,
        title: str,
        detail: str,
        hint: str,
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        self.status, self.name, self.title, self.detail, self.hint = (
            status,
            name,
            title,
            detail,
            hint,
        )
        self.headers = dict(headers or {})
        self.members = members
        super().__init__(detail)


def problem_response(problem: ProblemError, request_id: str) -> web.Response:
    """Return the response with the problem as `application/problem+json`."""
    body = {
        "type": TYPE_PREFIX + problem.name,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "hint": problem.hint,
        "requestId": request_id,
        **problem.members,
    }
    return web.Response(
        status=problem.status,
        body=msgspec.json.encode(body),
        content_type="application/problem+json",
        headers={"Cache-Control": "no-store", **problem.headers},
    )


def quoted(value: str) -> str:
    """Return a quoted value of a request for a message: shortened if long, and encodable."""
    is_short = len(value) <= _MAX_QUOTED_CHARACTERS
    text = value if is_short else value[:_MAX_QUOTED_CHARACTERS] + "…"
    return repr(text.encode(errors="backslashreplace").decode())


def invalid_parameter(name: str, value: str, allowed: str) -> ProblemError:
    """Return the problem that a parameter's value is not allowed."""
    return ProblemError(
        400,
        "invalid-parameter",
        "Invalid parameter",
        f"{name} is {quoted(value)}.",
        f"{name} takes {allowed}.",
        parameter=name,
        allowed=allowed,
    )


def invalid_cursor(reason: str) -> ProblemError:
    """Return the problem that a cursor is not valid for the request."""
    return ProblemError(
        400,
        "invalid-cursor",
        "Invalid cursor",
        f"The cursor {reason}.",
        "Use the filters and the order of the request that gave the cursor, or start again without "
        "a cursor.",
        parameter="cursor",
        allowed="page.next of a response to the same route, channel, filters and order",
    )


def filter_not_indexed(name: str, detail: str, hint: str) -> ProblemError:
    """Return the problem that no index serves a filter, or a combination of filters."""
    return ProblemError(
        400, "filter-not-indexed", "Filter not indexed", detail, hint, parameter=name
    )


def channel_not_found(name: str, indexed: list[str]) -> ProblemError:
    """Return the problem that no channel of that name is indexed."""
    return ProblemError(
        404,
        "channel-not-found",
        "Channel not found",
        f"No channel {quoted(name)} is indexed here.",
        f"Indexed: {', '.join(indexed)}."
        if indexed
        else "No channel is indexed yet: start `kindledger run` or `import`.",
    )


def block_not_found(description: str, hint: str) -> ProblemError:
    """Return the problem that neither the store nor a peer has the block."""
    return ProblemError(
        404, "block-not-found", "Block not found", f"There is no block {description}.", hint
    )


def block_not_indexed_yet(number: int, height: int, peer_height: int) -> ProblemError:
    """Return the problem that a peer has the block, but the store does not have it yet."""
    return ProblemError(
        404,
        "block-not-indexed-yet",
        "Block not indexed yet",
        f"Block {number} exists on the peer, whose height is {peer_height}; the indexed height is "
        f"{height}.",
        "Try again shortly; /api/v1/status shows the progress.",
        headers={"Retry-After": str(RETRY_SECONDS)},
        height=height,
        peerHeight=peer_height,
    )


def unavailable(name: str, title: str, detail: str, hint: str) -> ProblemError:
    """Return a problem that is expected to pass: the client may try again shortly."""
    return ProblemError(503, name, title, detail, hint, headers={"Retry-After": str(RETRY_SECONDS)})
