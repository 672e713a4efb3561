"""Searches a channel for a text: in blocks, transactions, chaincodes, events and keys."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlencode

from msgspec import Struct

from explorer_api.http.parameters import text as text_parameter
from explorer_api.http.problems import ProblemError
from explorer_api.http.responses import TEN_SECONDS, ApiResponse
from explorer_api.live.channel_totals import TotalsNotReadyError
from explorer_api.resources.blocks import BLOCK_HASH, BLOCK_NUMBER
from explorer_api.resources.chaincodes import chaincode_definitions
from explorer_api.resources.links import channel_path
from explorer_api.resources.totals import channel_totals
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

MIN_PREFIX: Final = 8
"""The number of characters from which a text also matches the beginning of a transaction id."""

MAX_HITS: Final = 10
"""The maximal number of results of each type."""

_CACHE_S: Final = 10.0
_TOTALS_SHARE: Final = 0.1
"""The share of the time limit in which the totals must be ready; else chaincodes are left out."""

_NONEMPTY_QUERY: Final = text_parameter(
    "q",
    "a block's number or hash, a transaction id or its beginning, a name, a key",
    MAX_TX_ID_BYTES,
    1,
    required=True,
)
QUERY: Final = replace(_NONEMPTY_QUERY, parse=lambda value: value and _NONEMPTY_QUERY.parse(value))
"""The text to search for. An empty text is parsed, so that its problem is that of a missing one."""


class _TypeResults(Struct, frozen=True):
    """The results of one type: at most `MAX_HITS`, and one more if there are further results."""

    type: HitType
    hits: Sequence[Hit]
    searched: bool = True


async def search(call: ChannelCall) -> ApiResponse:
    """Search blocks, transactions, chaincodes, events and keys.

    Blocks match by number or hash, transactions by id or at least its first 8 characters,
    chaincodes by name or its beginning, events by name, and keys by the whole key. Upper and lower
    case are distinguished, except in hashes.
    """
    query = call.query.get(QUERY)
    if not query:
        raise ProblemError(
            400,
            "query-too-short",
            "Query too short",
            "The parameter q is missing or empty.",
            "Give a text to search for, for example the number of a block: ?q=17",
            parameter=QUERY.name,
            allowed=QUERY.allowed,
        )
    results = [await search_type(call, query) for search_type in _SEARCHES]
    items = [hit for result in results for hit in result.hits[:MAX_HITS]]
    if not items:
        call.require_fresh_head()
    more = [result.type for result in results if len(result.hits) > MAX_HITS]
    not_searched = [result.type for result in results if not result.searched]
    return ApiResponse(
        SearchResults(query, items, more, not_searched, call.snapshot.height),
        TEN_SECONDS,
        _CACHE_S,
    )


async def _search_blocks(call: ChannelCall, query: str) -> _TypeResults:
    block: Document | None = None
    if BLOCK_NUMBER.fullmatch(query) and int(query) <= min(call.last, MAX_BLOCK_NUMBER):
        block = await call.channel.reader.block(int(query))
    elif BLOCK_HASH.fullmatch(query):
        block = await call.channel.reader.block_by_hash(query.lower(), call.last)
    if block is None:
        return _TypeResults("block", [])
    href = channel_path(call.channel.name, "blocks", str(block["number"]))
    hit = BlockHit(block["number"], block["blockHash"], block["ts"], href)
    return _TypeResults("block", [hit])


async def _search_transactions(call: ChannelCall, query: str) -> _TypeResults:
    is_whole_id = len(query) < MIN_PREFIX
    rows = await call.channel.reader.transactions_by_id_prefix(
        query, call.last, 1 if is_whole_id else MAX_HITS + 1
    )
    if is_whole_id:
        rows = [row for row in rows if row["txId"] == query]
    return _TypeResults("transaction", [_transaction_hit(call, row) for row in rows])


def _transaction_hit(call: ChannelCall, row: Document) -> TransactionHit:
    return TransactionHit(
        tx_id=row["txId"],
        block=row["blockNumber"],
        tx_index=row["txIndex"],
        status=row["status"],
        chaincode=read_optional_text(row["chaincodeId"]),
        ts=row["ts"],
        href=channel_path(call.channel.name, "transactions", row["txId"]),
    )


async def _search_chaincodes(call: ChannelCall, query: str) -> _TypeResults:
    try:
        totals = await channel_totals(call, _TOTALS_SHARE)
    except TotalsNotReadyError:
        return _TypeResults("chaincode", [], searched=False)
    all_names = await chaincode_definitions(call, totals)
    names = sorted(name for name in all_names if name.startswith(query))[: MAX_HITS + 1]
    hits = [
        ChaincodeHit(name, channel_path(call.channel.name, "chaincodes", name)) for name in names
    ]
    return _TypeResults("chaincode", hits)


async def _search_events(call: ChannelCall, query: str) -> _TypeResults:
    if not await call.channel.reader.has_event_name(query, call.last):
        return _TypeResults("event", [])
    path = channel_path(call.channel.name, "events")
    href = f"{path}?{urlencode({'name.eq': query})}"
    return _TypeResults("event", [EventHit(query, href)])


async def _search_keys(call: ChannelCall, query: str) -> _TypeResults:
    reader = call.channel.reader
    if not (await reader.optional_indexes()).key_history:
        return _TypeResults("key", [], searched=False)
    namespaces = await reader.key_namespaces(query, call.last, MAX_HITS + 1)
    hits = [
        KeyHit(
            namespace,
            query,
            channel_path(call.channel.name, "keys", namespace, query, "history"),
        )
        for namespace in namespaces
    ]
    return _TypeResults("key", hits)


_SEARCHES: Final = (
    _search_blocks,
    _search_transactions,
    _search_chaincodes,
    _search_events,
    _search_keys,
)
