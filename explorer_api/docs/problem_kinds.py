"""Every kind of problem that an answer can have: its status, when it comes, and what a client does about it."""

from typing import Final

from msgspec import Struct


class ProblemKind(Struct, frozen=True):
    """A name that ends a problem's `type`, explained. The answer itself says more: what was asked, what is allowed."""

    status: int
    when: str
    remedy: str


_ASK_AGAIN = "Ask again after `Retry-After` seconds."
_READ_ALLOWED = "Read `parameter` and `allowed`."

PROBLEM_KINDS: Final = {
    "unknown-parameter": ProblemKind(400, "The route has no such parameter.", _READ_ALLOWED),
    "repeated-parameter": ProblemKind(400, "A parameter is given more than once.", "Give it once."),
    "invalid-parameter": ProblemKind(
        400, "A value is not one that the parameter takes.", _READ_ALLOWED
    ),
    "malformed-query": ProblemKind(
        400,
        "The query is not UTF-8, percent-encoded, or has more than 50 parameters.",
        "Percent-encode every name and value.",
    ),
    "malformed-tx-id": ProblemKind(
        400, "What the path has for an id cannot be one.", "Percent-encode its UTF-8."
    ),
    "invalid-cursor": ProblemKind(
        400,
        "The cursor belongs to another route, channel, filter or order, or to none.",
        "Repeat the request that gave it with nothing changed, or begin again without a cursor.",
    ),
    "filter-not-indexed": ProblemKind(
        400,
        "No index answers this filter, or these filters together.",
        "Leave out the one that `parameter` names; what the operator has indexed is in the hint.",
    ),
    "range-too-large": ProblemKind(
        400, "The range would take too much to add up.", "Narrow it: see `largest`."
    ),
    "query-too-short": ProblemKind(400, "There is no text to search for.", "Give one: ?q=17"),
    "http-error": ProblemKind(
        400,
        "The request is not HTTP/1.1, or too long.",
        "Check address and headers; an id of 64 KiB still fits.",
    ),
    "unauthorized": ProblemKind(
        401,
        "The operator asks for a token, and there is none, or none that is valid.",
        "Send `Authorization: Bearer …`.",
    ),
    "route-not-found": ProblemKind(404, "There is no such route.", "See this page."),
    "channel-not-found": ProblemKind(
        404, "No such channel is indexed.", "Ask /api/v1/channels for those that are."
    ),
    "block-not-found": ProblemKind(
        404, "There is no such block, here or on the peer.", "The hint tells which there are."
    ),
    "block-not-indexed-yet": ProblemKind(
        404, "The peer has the block, the store has not: see `height` and `peerHeight`.", _ASK_AGAIN
    ),
    "transaction-not-found": ProblemKind(
        404,
        "No envelope in the blocks indexed so far owns that id, or has that index.",
        "Percent-encode the id; compare `Ledger-Height` with the block that you expect it in.",
    ),
    "chaincode-not-found": ProblemKind(
        404,
        "No transaction names the chaincode, and the channel has not defined it.",
        "Case matters.",
    ),
    "not-reconciled": ProblemKind(
        404,
        "This service knows no business database for the channel.",
        "The operator can configure `postgres` and `reconcile.channel`.",
    ),
    "method-not-allowed": ProblemKind(405, "The API only reads.", "Use GET or HEAD."),
    "replay-ahead": ProblemKind(
        409,
        "The stream was left above the ledger's height.",
        "Ask again later, or open a new stream without an id.",
    ),
    "replay-too-old": ProblemKind(
        409,
        "The stream was left too far below the head.",
        "Read the lists, then open a new stream without an id.",
    ),
    "raw-not-retained": ProblemKind(
        410,
        "The bytes of blocks are not kept, only what they say.",
        "Ask a peer: `peer channel fetch`.",
    ),
    "too-many-requests": ProblemKind(429, "This client asks this route too often.", _ASK_AGAIN),
    "too-many-streams": ProblemKind(
        429, "Too many streams are open.", "Close some: one carries a whole channel."
    ),
    "internal-error": ProblemKind(
        500, "A fault of this program.", "Tell the operator the `requestId`."
    ),
    "database-unavailable": ProblemKind(503, "MongoDB does not answer.", _ASK_AGAIN),
    "database-refused": ProblemKind(
        503, "MongoDB does not let this service read.", "The operator must look at its role."
    ),
    "business-unavailable": ProblemKind(503, "The business database does not answer.", _ASK_AGAIN),
    "timed-out": ProblemKind(503, "The answer was not ready in time.", "Ask again for less."),
    "summing": ProblemKind(
        503,
        "The service has just started, and still adds up the ledger.",
        _ASK_AGAIN + " Other routes work meanwhile.",
    ),
    "not-ready": ProblemKind(
        503,
        "A channel's database is not one that this program can read, or lacks an index.",
        "Read the detail.",
    ),
}
