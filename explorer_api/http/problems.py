"""What goes wrong, as RFC 9457 problem details: what happened, and a hint that says what to do."""

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

TYPE_PREFIX = "urn:kindledger:problem:"
RETRY_SECONDS = 2
_SHOWN_CHARACTERS = 100


class ProblemError(Exception):
    """An answer that is an error. `name` ends the problem's `type`; `members` are further members of the object."""

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
    """The problem as `application/problem+json`."""
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
    """A value from a request as a message can show it: cut when long, and always encodable."""
    shown = value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "…"
    return repr(shown.encode(errors="backslashreplace").decode())


def invalid_parameter(name: str, value: str, allowed: str) -> ProblemError:
    """A parameter's value is not one that is allowed."""
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
    """A cursor that no answer to this question can have given."""
    return ProblemError(
        400,
        "invalid-cursor",
        "Invalid cursor",
        f"The cursor {reason}.",
        "Repeat the request that gave the cursor, filters and order unchanged, or start again without a cursor.",
        parameter="cursor",
        allowed="page.next of an answer to the same route, channel, filters and order",
    )


def filter_not_indexed(name: str, detail: str, hint: str) -> ProblemError:
    """A filter, or a combination of filters, that would have to look at every document."""
    return ProblemError(
        400, "filter-not-indexed", "Filter not indexed", detail, hint, parameter=name
    )


def channel_not_found(name: str, known: list[str]) -> ProblemError:
    """No such channel is indexed."""
    return ProblemError(
        404,
        "channel-not-found",
        "Channel not found",
        f"No channel {quoted(name)} is indexed here.",
        f"Indexed: {', '.join(known)}."
        if known
        else "No channel is indexed yet: start `kindledger run` or `import`.",
    )


def block_not_found(what: str, hint: str) -> ProblemError:
    """No such block is stored, and no peer is known to have it."""
    return ProblemError(
        404, "block-not-found", "Block not found", f"There is no block {what}.", hint
    )


def block_not_indexed_yet(what: str, height: int, peer_height: int) -> ProblemError:
    """The peer has the block, the store does not yet."""
    return ProblemError(
        404,
        "block-not-indexed-yet",
        "Block not indexed yet",
        f"Block {what} exists on the peer, whose height is {peer_height}; indexed are blocks below {height}.",
        "Try again shortly; /api/v1/status tells the rate.",
        headers={"Retry-After": str(RETRY_SECONDS)},
        height=height,
        peerHeight=peer_height,
    )


def unavailable(name: str, title: str, detail: str, hint: str) -> ProblemError:
    """The answer cannot be given now."""
    return ProblemError(503, name, title, detail, hint, headers={"Retry-After": str(RETRY_SECONDS)})
