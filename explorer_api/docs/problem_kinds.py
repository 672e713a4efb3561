"""The kinds of problems: the status of each, its cause, and what the client can do about it."""

from typing import Final

from msgspec import Struct


class ProblemKind(Struct, frozen=True):
    """A kind of problem, whose name is the last part of a problem's `type`."""

    status: int
    cause: str
    remedy: str


_RETRY: Final = "Repeat the request after `Retry-After` seconds."
_READ_ALLOWED: Final = "Correct the parameter: `allowed` has the allowed values."

PROBLEM_KINDS: Final = {
    "unknown-parameter": ProblemKind(
        400, "The route has no such parameter.", "Use one of the parameters in `allowed`."
    ),
    "repeated-parameter": ProblemKind(
        400,
        "A parameter is given more than once. `field` and `field.eq` are the same parameter.",
        "Give the parameter once.",
    ),
    "invalid-parameter": ProblemKind(
        400, "The value of a parameter is not allowed.", _READ_ALLOWED
    ),
    "malformed-query": ProblemKind(
        400,
        "The query is not percent-encoded UTF-8, or has more than 50 parameters.",
        "Percent-encode every name and every value.",
    ),
    "malformed-tx-id": ProblemKind(
        400,
        "The text in the path cannot be a transaction id: it is not UTF-8, or too long.",
        "Percent-encode the UTF-8 bytes of the id.",
    ),
    "invalid-cursor": ProblemKind(
        400,
        "The cursor is not from this API, or belongs to another route, channel, filter or order.",
        "Send the cursor with the route, filters and order of the request that returned it, or "
        "begin again without a cursor.",
    ),
    "filter-not-indexed": ProblemKind(
        400,
        "No index supports this filter or this combination of filters.",
        "Leave out the filter that `parameter` names. `hint` says what is indexed.",
    ),
    "range-too-large": ProblemKind(
        400,
        "The range has too many intervals or too many blocks.",
        "Narrow the range: `largest` has the limit.",
    ),
    "query-too-short": ProblemKind(
        400, "The search has no text to search for.", "Give a text, for example `?q=17`."
    ),
    "http-error": ProblemKind(
        400,
        "The request is not valid HTTP/1.1, or its path or headers are too long.",
        "Check the path and the headers. A transaction id of 64 KiB is not too long.",
    ),
    "unauthorized": ProblemKind(
        401,
        "The operator requires a token, and the request has no valid one.",
        "Send `Authorization: Bearer TOKEN`.",
    ),
    "route-not-found": ProblemKind(404, "There is no such route.", "See the routes on this page."),
    "channel-not-found": ProblemKind(
        404, "No channel with this name is indexed.", "`/api/v1/channels` lists the channels."
    ),
    "block-not-found": ProblemKind(
        404,
        "There is no such block, neither in the store nor on the peer.",
        "`hint` says which blocks are indexed.",
    ),
    "block-not-indexed-yet": ProblemKind(
        404,
        "The peer has the block, but it is not indexed yet. `height` and `peerHeight` have the "
        "heights of the store and of the peer.",
        _RETRY,
    ),
    "transaction-not-found": ProblemKind(
        404,
        "No transaction in the indexed blocks has this id or this index.",
        "Percent-encode the id. Check that `Ledger-Height` is above the number of the block that "
        "should have the transaction.",
    ),
    "chaincode-not-found": ProblemKind(
        404,
        "No transaction names this chaincode, and the channel has no definition of it.",
        "Check upper and lower case: the name must be spelled exactly.",
    ),
    "certificate-not-found": ProblemKind(
        404,
        "No certificate with this fingerprint signed in the blocks whose signatures are verified.",
        "Check the fingerprint, and that `verifiedHeight` of the channel is above the block.",
    ),
    "not-reconciled": ProblemKind(
        404,
        "This service has no business database for the channel.",
        "The operator can configure `postgres` and `reconcile.channel`.",
    ),
    "method-not-allowed": ProblemKind(
        405, "The API only allows reading.", "Use the method GET or HEAD."
    ),
    "encoding-not-acceptable": ProblemKind(
        406,
        "`Accept-Encoding` allows neither zstd, nor gzip, nor a body without compression.",
        "Send `Accept-Encoding: zstd, gzip`, or leave the header out.",
    ),
    "not-provable": ProblemKind(
        409,
        "No evidence can be made of the transaction: its signatures cannot be verified, its blocks "
        "are too large for this service, or the archive has other blocks than the ledger.",
        "Read `detail`.",
    ),
    "replay-ahead": ProblemKind(
        409,
        "The position at which the stream would be resumed is above the ledger's height.",
        "Try again later, or open a new stream without an id.",
    ),
    "replay-too-old": ProblemKind(
        409,
        "The position at which the stream would be resumed is too far below the head.",
        "Read the lists, then open a new stream without an id.",
    ),
    "raw-not-retained": ProblemKind(
        410,
        "The original bytes of the block are not kept: the operator has turned this off, or it "
        "began at a later block.",
        "Get the block from a peer with `peer channel fetch`.",
    ),
    "too-many-requests": ProblemKind(
        429, "This client has sent too many requests to this route.", _RETRY
    ),
    "too-many-streams": ProblemKind(
        429, "Too many streams are open.", "Close some streams: one can carry a whole channel."
    ),
    "internal-error": ProblemKind(
        500, "The service has a fault.", "Tell the operator the `requestId`."
    ),
    "raw-block-damaged": ProblemKind(
        500,
        "What is kept of the original bytes of the block was damaged, or is another block.",
        "Tell the operator; get the block from a peer with `peer channel fetch`.",
    ),
    "archive-unavailable": ProblemKind(
        503, "The folder with the original bytes of blocks cannot be read.", _RETRY
    ),
    "database-unavailable": ProblemKind(503, "MongoDB does not answer.", _RETRY),
    "database-refused": ProblemKind(
        503,
        "MongoDB refuses access to this service.",
        "The operator must check the service's MongoDB user and role.",
    ),
    "business-unavailable": ProblemKind(503, "The business database does not answer.", _RETRY),
    "timed-out": ProblemKind(
        503,
        "The response was not ready in time.",
        "Ask for less: a narrower range, or a lower limit.",
    ),
    "totals-not-ready": ProblemKind(
        503,
        "The service has just started and is still adding up the totals of the ledger.",
        _RETRY + " Other routes work meanwhile.",
    ),
    "building-indexes": ProblemKind(
        503,
        "The daemon has stored a long ledger, and has not built the index yet that the query needs."
        " `secondsLeft` has the time left, or null if it is not known.",
        _RETRY + " Blocks, the transactions of a block, and streams can be read meanwhile.",
    ),
    "not-ready": ProblemKind(
        503,
        "The database of a channel has a newer format than this program can read, or lacks an "
        "index.",
        "Read `detail` and `hint`.",
    ),
}
