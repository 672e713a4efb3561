"""The guide: what is true for all routes."""

from collections.abc import Sequence
from typing import Final

from explorer_api.docs.content import Block, Paragraph, Section, Table
from explorer_api.docs.markdown import read_markdown
from explorer_api.docs.problem_kinds import PROBLEM_KINDS
from explorer_api.http.compression import MIN_BYTES
from explorer_api.http.parameters import DEFAULT_LIMIT, MAX_LIMIT, MAX_VALUES
from explorer_api.http.responses import HALF_A_MINUTE, IMMUTABLE, NO_CACHE, NO_STORE, ONE_DAY
from explorer_api.options import Options

DEMO: Final = "http://127.0.0.1:8080"
_DEMO_CHANNEL: Final = f"{DEMO}/api/v1/channels/kindledger"
_NEXT_CURSOR: Final = (
    """python3 -c 'import json, sys; print(json.load(sys.stdin)["page"]["next"])'"""
)
_PROBLEMS: Final = "Problems"

_TEXT: Final = f"""
## In general

- The API only allows reading. Use GET, or HEAD for the headers alone. The response to any other
  method is 405.
- The paths below `/api/v1` are about the ledger. The other paths are for operators.
  `/openapi.json` describes the same routes for programs. `/` redirects to `/docs`.
- Responses are JSON. Hashes are lower-case hexadecimal. Times are RFC 3339 in UTC. No field is ever
  left out: a value that is not known is null.
- A height is the number of the highest block plus one.
- Heights, indexes, counts and sizes are JSON numbers. In payloads, integers beyond 2^53 are
  strings, since JavaScript cannot represent them exactly.
- Clients and chaincodes can write any bytes to the ledger. If the bytes are valid UTF-8, the
  response has a text, else base64; the field `encoding` says which of them. If a value was too
  large for the store, the response has an [`Omitted`](#omitted) object in its place.
- In paths and queries, percent-encode every character except letters, digits, `-`, `.`, `_` and
  `~`. This includes slashes.
- If a parameter is unknown, repeated or out of range, the response is 400. It names the parameter
  and its allowed values. The API never replaces a wrong value with a default.

The examples are for the demo (`make demo`), whose channel is `kindledger`. They need `curl`, and
some of them `python3`.

## Paging

A list has `items`, and a `page` with the `limit` and the cursor `next`. The limit is from 1 to
{MAX_LIMIT}; the default is {DEFAULT_LIMIT}. To get the next page, repeat the request with
`cursor` set to `next`. On the last page `next` is null. A page can have fewer items than the limit
although another page follows.

```sh
NEXT=$(curl -s '{_DEMO_CHANNEL}/blocks?limit=2' | {_NEXT_CURSOR})
curl "{_DEMO_CHANNEL}/blocks?limit=2&cursor=$NEXT"
```

All pages show the ledger at the `height` that it had when the first page was read, so that no item
is skipped or repeated while new blocks arrive. A cursor belongs to one route, channel, order and
set of filters; only the limit may change between pages. The API refuses a cursor of another request
with 400 `invalid-cursor`. Cursors do not expire. Their content is not part of the API.

## Filters

The name of a filter says how it compares. A name without a suffix means equality.

| filter | matches if the value is |
|---|---|
| `field` or `field.eq` | equal to the given value |
| `field.ne` | not equal to the given value |
| `field.in` | one of up to {MAX_VALUES} values, separated by commas |
| `field.ni` | none of up to {MAX_VALUES} values, separated by commas |
| `field.ge`, `field.le` | at least, at most the given value |
| `field.lt` | less than the given value |
| `payload.path` | equal to the given value, at this path of a JSON payload |

`field` and `field.eq` are two spellings of one parameter: give one of them. A field of a payload
has one spelling, for example `payload.campaignId=camp-1`. The value of a filter is always compared
as a value, never evaluated as an expression.

Every list is read through an index. If no index supports a filter or a combination of filters, the
response is 400 `filter-not-indexed`, and its `hint` says which filters are possible.

## Caching

Every cacheable response has an `ETag`. Send it as `If-None-Match` to find out whether the
response has changed: if not, the response is 304 without a body. The ETag of a
[compressed](#compression) response is weak (`W/"…"`), the others are strong. Either of them is
valid for every form of a response.

```sh
ETAG=$(curl -sI '{_DEMO_CHANNEL}/blocks/0' | tr -d '\\r' | sed -n 's/^[Ee][Tt][Aa][Gg]: //p')
curl -i -H "If-None-Match: $ETAG" '{_DEMO_CHANNEL}/blocks/0'
```

| `Cache-Control` | response |
|---|---|
| `{IMMUTABLE}` | never changes: a final block by number or hash, or a transaction by its index |
| `{ONE_DAY}` | a page that no later block can change |
| `{HALF_A_MINUTE}`, or less | totals and search results |
| `{NO_CACHE}` | the next block can change it: a cache must ask with `If-None-Match` each time |
| `{NO_STORE}` | must not be stored: the current status, and problems |

## Compression

A response of {MIN_BYTES} bytes or more is compressed if the `Accept-Encoding` of the request has
`zstd` (RFC 8878) or `gzip`. JSON of the ledger becomes two to six times smaller, with zstd a little
more than with gzip. Without the header, and in streams, nothing is compressed.

```sh
curl -sI -H 'Accept-Encoding: zstd, gzip' '{_DEMO_CHANNEL}/transactions'
```

The coding with the highest weight is chosen; of equal weights, zstd comes before gzip, and gzip
before no compression. `*` stands for every coding that is not named. `identity;q=0` demands that
small responses are compressed too. If the header allows neither zstd, nor gzip, nor a body without
compression, the response is 406 `encoding-not-acceptable`. Every response that depends on the
header says so in `Vary`.

## Freshness

Responses about a channel have two headers. `Ledger-Height` is the height of the ledger from which
the response was made. `Ledger-Peer-Height` is the height that a peer is known to have. If they
differ, the service is still catching up. The response about a block that only the peer has is 404
`block-not-indexed-yet`, with both heights and `Retry-After`. A block becomes visible when it is
stored completely, and stays visible.

Blocks and transactions say whether they are `agreed`: whether as many peers of distinct
organisations gave the block as the operator requires. Only agreed blocks settle business rows. The
blocks below `agreedHeight` of the channel are agreed. This height rises, and falls only if peers
are found to differ: to the first block on which they do, and the channel stops. In a stream
`agreed` is null, since each message is sent once.

After that the daemon verifies the signatures of creators and endorsers, and the endorsement
policies: the blocks below `verifiedHeight` are verified. `verification` of a block or a transaction
has its state and what was found. A block is final when it is agreed, and verified if the daemon
verifies signatures.

## {_PROBLEMS}

Errors are `application/problem+json` (RFC 9457). `detail` says what happened, and `hint` what to do
about it. `requestId` finds the request in the log of the service.

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

`/api/v1/channels/{{channel}}/stream` sends blocks, transactions and events as soon as they are
indexed, as server-sent events. A browser reads them with `EventSource`, and a terminal with
`curl -N`. If the operator requires tokens, a browser must read the stream with `fetch`, since
`EventSource` cannot send `Authorization`.

```text
event: block
id: 137
data: {{"number":136,"hash":"…"}}
```

- The first message is `state`, with the height. Then `transaction`, `event` and `block` messages
  follow in the order of the chain; the `block` message comes after all other messages of its block.
- The server sends something at least every 15 seconds. A longer silence means that the connection
  is broken.
- Each message has an `id`. To resume a stream, send the last id in the header `Last-Event-ID`, as
  `EventSource` does by itself, or in the parameter `lastEventId`. No message is lost and none comes
  twice.
- To follow a list with a stream without a gap, read the list to its end, then open the stream with
  `lastEventId` set to the list's `height`.
- A client that reads too slowly gets the message `lagged`, and the stream ends. Resume it like any
  other stream that ended.

## Limits and access

- A response takes at most {Options().seconds_per_request:g} seconds, unless the operator
  configured another limit. After that the response is 503 `timed-out`.
- The operator can limit how many requests a client address may send to each route. The response to
  a request above the limit is 429 with `Retry-After`.
- The operator can require a token. Then every request needs the header
  `Authorization: Bearer TOKEN`, except those to `/live` and `/ready`.
- The operator can allow pages of other origins to read the API (CORS).
- Every response has an `X-Request-ID`. It is the one in the request if that has 1 to 64 letters,
  digits, `.`, `_` and `-`, else a new one.
"""


def guide(common_kinds: Sequence[str]) -> list[Section]:
    """Return the sections of the guide; `common_kinds` are the problems that most routes have."""
    return [
        Section(section.title, [*section.blocks, *_problem_blocks(common_kinds)])
        if section.title == _PROBLEMS
        else section
        for section in read_markdown(_TEXT)
    ]


def _problem_blocks(common_kinds: Sequence[str]) -> list[Block]:
    rows = [
        [f"`{name}`", str(kind.status), kind.cause, kind.remedy]
        for name, kind in sorted(PROBLEM_KINDS.items(), key=lambda item: item[1].status)
    ]
    return [
        Paragraph(
            f"Most routes can have the problems {_codes(common_kinds)}. The other problems are "
            "named in the description of each route."
        ),
        Table(["kind", "status", "cause", "what to do"], rows),
    ]


def _codes(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
