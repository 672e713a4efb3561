"""What holds for all routes, in words."""

from collections.abc import Sequence
from typing import Final

from explorer_api.docs.content import Block, Paragraph, Section, Table
from explorer_api.docs.markdown import read_markdown
from explorer_api.docs.problem_kinds import PROBLEM_KINDS
from explorer_api.http.parameters import DEFAULT_LIMIT, MAX_LIMIT, MAX_NAMES
from explorer_api.http.responses import IMMUTABLE, NO_CACHE, NO_STORE, ONE_DAY
from explorer_api.options import Options
from explorer_api.resources.stats import HALF_A_MINUTE

DEMO: Final = "http://127.0.0.1:8080"
_C: Final = f"{DEMO}/api/v1/channels/kindledger"
_PROBLEMS: Final = "Problems"

_TEXT: Final = f"""
## In general

- The API only reads: GET, and HEAD for the headers alone. Anything else is 405.
- Below `/api/v1` is the ledger, at the root is what operators need. `/openapi.json` describes the same routes for
  programs.
- Answers are JSON. Hashes are lower-case hex, times RFC 3339 in UTC. A field is never left out: what is not known is
  null.
- A height is a number of blocks: the highest block's number plus one.
- Heights, indexes, counts and sizes are numbers. Integers beyond 2^53 inside a payload are texts, since JavaScript has
  no such numbers.
- Bytes that someone chose are shown as text if they are UTF-8, else in base64; `encoding` says which. In place of what
  was too large for the store stands an [`Omitted`](#omitted).
- In a path or query percent-encode whatever is not a letter, a digit, `-`, `.`, `_` or `~`, slashes included.
- A parameter that is unknown, repeated or out of range is 400, and the answer names it and says what it takes. There is
  no silent default.

Examples are for the demo, `make demo`, whose channel is `kindledger`. They need `curl`, and some of them `python3`.

## Paging

Lists give `items`, and `page` with the `limit` (1 to {MAX_LIMIT}, {DEFAULT_LIMIT} unless given) and the cursor `next`.
Send that as `cursor`, with everything else unchanged, to get the next page; null means that there is none. A page can
end before its limit.

```sh
NEXT=$(curl -s '{_C}/blocks?limit=2' | python3 -c 'import json, sys; print(json.load(sys.stdin)["page"]["next"])')
curl "{_C}/blocks?limit=2&cursor=$NEXT"
```

A cursor is opaque, and bound to the route, the channel, the filters, the order, and the `height` at which the paging
began: later pages see the ledger as the first one did, so that none skips or repeats while blocks arrive. Only the
limit may change. Cursors do not expire. One of another question is 400; none gives just any page.

## Filters

A filter's name says how it compares; a name alone must be equal.

| filter | takes what is |
|---|---|
| `field.eq`, or `field` | equal |
| `field.ne` | not equal |
| `field.in` | one of up to {MAX_NAMES} values, separated by commas |
| `field.ni` | none of up to {MAX_NAMES} values, separated by commas |
| `field.ge`, `field.le` | at least, at most |
| `field.lt` | less than |
| `payload.path` | in a JSON payload, as in `payload.campaignId=camp-1` |

Filters are values and never expressions: nothing in one becomes an operator. Every list is read along an index. What
none answers is refused as `filter-not-indexed`, and the hint says what is answered.

## Caching

Whatever may be kept has a strong `ETag`. Send it as `If-None-Match`: the answer is 304 without a body where nothing
changed.

```sh
ETAG=$(curl -sI '{_C}/blocks/0' | tr -d '\\r' | sed -n 's/^[Ee][Tt][Aa][Gg]: //p')
curl -i -H "If-None-Match: $ETAG" '{_C}/blocks/0'
```

| `Cache-Control` | of |
|---|---|
| `{IMMUTABLE}` | what never changes: a block by number or hash, a transaction by its place |
| `{ONE_DAY}` | a page that no later block can change |
| `{HALF_A_MINUTE}`, or less | sums, findings of a search |
| `{NO_CACHE}` | what the next block can change: keep it, and ask with `If-None-Match` |
| `{NO_STORE}` | what holds for the moment, and problems |

## Freshness

Answers about a channel have `Ledger-Height`, the height that they were made from, and `Ledger-Peer-Height`, that which
a peer is known to have. Where these differ the service is catching up: a block that the peer has and the store has not
is 404 `block-not-indexed-yet`, with both heights and `Retry-After`. A block is shown when all of it is stored, and then
for good.

## {_PROBLEMS}

What goes wrong is `application/problem+json` (RFC 9457) with the status that HTTP has for it. `hint` says what to do;
`requestId` finds the request in the service's log.

```json
{{
  "type": "urn:kindledger:problem:invalid-parameter",
  "title": "Invalid parameter",
  "status": 400,
  "detail": "limit is '501'.",
  "hint": "limit takes an integer from 1 to 500.",
  "requestId": "9f2c1c0b6f2f4f0c8d5a4f7f1f4f6d1e",
  "parameter": "limit",
  "allowed": "an integer from 1 to 500"
}}
```

## Streams

`/api/v1/channels/{{channel}}/stream` sends what is indexed when it is indexed, as server-sent events. A browser's
`EventSource` reads them, and so does `curl -N`. Where the operator asks for tokens, read the stream with `fetch`: an
`EventSource` cannot send `Authorization`.

```text
event: block
id: 137
data: {{"number":136,"hash":"…"}}
```

- First comes `state` with the height, then in the order of the chain `transaction`, `event` and, when a block is whole,
  `block`; at least every 15 seconds something, so that silence means a broken connection.
- Each has an `id`. Come back with the last one in the header `Last-Event-ID`, as `EventSource` does by itself, or in
  the parameter `lastEventId`: nothing is missed and nothing comes twice.
- To join history and stream, read the lists up to their `height` N, then open the stream with `lastEventId=N`, which
  stands after all blocks below N.
- A client that is too slow gets `lagged`, and the stream ends. Come back as after any other end.

## Limits and access

- An answer takes {Options().seconds_per_request:g} seconds at most, unless the operator chose otherwise; else it is 503
  `timed-out`.
- The operator can limit how often one client address asks each route. Beyond that it is 429 with `Retry-After`.
- The operator can give out tokens. Then each request, but for `/live` and `/ready`, needs one: `Authorization: Bearer
  TOKEN`.
- The operator can let pages of other origins read the API (CORS).
- Every answer has an `X-Request-ID`: your own if you send one, of up to 64 letters, digits, `.`, `_` and `-`.
"""


def guide(common: Sequence[str]) -> list[Section]:
    """The sections; `common` are the kinds of problems that most routes have."""
    return [
        Section(section.title, [*section.blocks, *_problems(common)])
        if section.title == _PROBLEMS
        else section
        for section in read_markdown(_TEXT)
    ]


def _problems(common: Sequence[str]) -> list[Block]:
    rows = [
        [f"`{name}`", str(kind.status), kind.when, kind.remedy]
        for name, kind in sorted(PROBLEM_KINDS.items(), key=lambda item: item[1].status)
    ]
    return [
        Paragraph(
            f"Most routes can answer with {_codes(common)}. The others are named with the routes that have them."
        ),
        Table(["kind", "status", "when", "what to do"], rows),
    ]


def _codes(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
