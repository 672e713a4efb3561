"""Finds whatever a text may stand for: blocks, transactions, chaincodes, events and keys."""

import re
from dataclasses import replace
from typing import Final, TypeVar
from urllib.parse import quote, urlencode

from msgspec import Struct

from explorer_api.http.parameters import text as text_parameter
from explorer_api.http.problems import ProblemError
from explorer_api.http.responses import ApiResponse
from explorer_api.live.running_totals import TotalsNotReadyError
from explorer_api.resources.chaincodes import known_chaincodes
from explorer_api.resources.stats import channel_totals
from explorer_api.routing.calls import ChannelCall
from explorer_api.schemas.search import (
    BlockHit,
    ChaincodeHit,
    EventHit,
    Hit,
    HitType,
    KeyHit,
    SearchResults,
    TransactionHit,
)
from explorer_api.schemas.stored_values import read_optional_text
from ledger.documents.format import Document
from ledger.ownership import MAX_TX_ID_BYTES
from ledger.position import MAX_BLOCK_NUMBER

T = TypeVar("T")

MIN_PREFIX: Final = 8
MAX_HITS: Final = 10
"""Of each type."""

_CACHING: Final = "max-age=10"
_KEPT_S: Final = 10.0
_PATIENCE: Final = 0.1
_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_HASH = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)

_TEXT = text_parameter(
    "q",
    "a block's number or hash, a transaction id or its beginning, a name, a key",
    MAX_TX_ID_BYTES,
    1,
    required=True,
)
Q = replace(
    _TEXT, parse=lambda value: value and _TEXT.parse(value)
)  # nothing in it is answered as no q is


async def search(call: ChannelCall) -> ApiResponse:
    """Blocks by number or hash, transactions by id or its first 8 or more characters, chaincodes by name or its
    beginning, events by name, keys. Case matters, but in hashes.
    """
    query = call.query.get(Q)
    if not query:
        raise ProblemError(
            400,
            "query-too-short",
            "Query too short",
            "There is no q, or nothing in it.",
            "Give a text to search for, such as a block's number or a transaction id: ?q=17",
            parameter=Q.name,
            allowed=Q.allowed,
        )
    found = [await look(call, query) for look in _LOOKS]
    items = [hit for looked in found for hit in looked.hits[:MAX_HITS]]
    if not items:
        call.require_fresh_head()
    more = [looked.type for looked in found if len(looked.hits) > MAX_HITS]
    not_searched = [looked.type for looked in found if not looked.searched]
    return ApiResponse(
        SearchResults(query, items, more, not_searched, call.snapshot.height), _CACHING, _KEPT_S
    )


class _Look(Struct, frozen=True):
    type: HitType
    hits: list[Hit]
    searched: bool = True


async def _blocks(call: ChannelCall, query: str) -> _Look:
    block: Document | None = None
    if _NUMBER.fullmatch(query) and int(query) <= min(call.last, MAX_BLOCK_NUMBER):
        block = await call.channel.reader.block(int(query))
    elif _HASH.fullmatch(query):
        block = await call.channel.reader.block_by_hash(query.lower(), call.last)
    if block is None:
        return _Look("block", [])
    return _Look(
        "block",
        [
            BlockHit(
                block["number"],
                block["blockHash"],
                block["ts"],
                _href(call, "blocks", str(block["number"])),
            )
        ],
    )


async def _transactions(call: ChannelCall, query: str) -> _Look:
    whole = len(query) < MIN_PREFIX
    rows = await call.channel.reader.transactions_by_id_prefix(
        query, call.last, 1 if whole else MAX_HITS + 1
    )
    if whole:
        rows = [row for row in rows if row["txId"] == query]
    return _Look("transaction", [_transaction(call, row) for row in rows])


def _transaction(call: ChannelCall, row: Document) -> TransactionHit:
    return TransactionHit(
        tx_id=row["txId"],
        block=row["blockNumber"],
        tx_index=row["txIndex"],
        status=row["status"],
        chaincode=read_optional_text(row["chaincodeId"]),
        ts=row["ts"],
        href=_href(call, "transactions", row["txId"]),
    )


async def _chaincodes(call: ChannelCall, query: str) -> _Look:
    try:
        counted = await channel_totals(call, _PATIENCE)
    except TotalsNotReadyError:
        return _Look("chaincode", [], searched=False)
    names = sorted(name for name in await known_chaincodes(call, counted) if name.startswith(query))
    return _Look(
        "chaincode",
        [ChaincodeHit(name, _href(call, "chaincodes", name)) for name in names[: MAX_HITS + 1]],
    )


async def _events(call: ChannelCall, query: str) -> _Look:
    if not await call.channel.reader.has_event_name(query, call.last):
        return _Look("event", [])
    return _Look(
        "event", [EventHit(query, f"{_href(call, 'events')}?{urlencode({'name.eq': query})}")]
    )


async def _keys(call: ChannelCall, query: str) -> _Look:
    reader = call.channel.reader
    if not (await reader.optional_indexes()).key_history:
        return _Look("key", [], searched=False)
    namespaces = await reader.key_namespaces(query, call.last, MAX_HITS + 1)
    return _Look(
        "key",
        [
            KeyHit(namespace, query, _href(call, "keys", namespace, query, "history"))
            for namespace in namespaces
        ],
    )


_LOOKS = (_blocks, _transactions, _chaincodes, _events, _keys)


def _href(call: ChannelCall, *segments: str) -> str:
    """A path below the channel."""
    path = (call.channel.name, *segments)
    return "/api/v1/channels/" + "/".join(quote(segment, safe="") for segment in path)
