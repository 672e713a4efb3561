"""Transactions: the list, those of a block, and one by its id or its place."""

import re
from contextlib import suppress

from explorer_api.http.page_cursors import decode_cursor
from explorer_api.http.parameters import CURSOR
from explorer_api.http.problems import ProblemError, invalid_parameter, quoted
from explorer_api.http.responses import IMMUTABLE, NO_CACHE, ApiResponse
from explorer_api.resources.blocks import find_block
from explorer_api.resources.filters import resumed_ts
from explorer_api.resources.transaction_filters import TransactionFilters
from explorer_api.routing.calls import ChannelCall
from explorer_api.routing.page_request import PageRequest, read_page_request
from explorer_api.schemas.transactions import (
    MAX_REPEATS,
    TransactionPage,
    transaction_detail,
    transaction_row,
)
from ledger.mongodb.paging import Page
from ledger.ownership import MAX_TX_ID_BYTES
from ledger.position import MAX_INDEX, highest_block_below, unpack_position
from reconciliation.reports import BusinessRows, BusinessUnavailableError

_INDEX = re.compile(r"0|[1-9][0-9]{0,6}", re.ASCII)
_BUSINESS_SECONDS = 1.0


async def list_transactions(
    call: ChannelCall, filters: TransactionFilters, page_request: PageRequest
) -> ApiResponse:
    """Transactions by their place on the chain; with a range of times, by the client's time and then place.

    One of chaincode, chaincode with function, creatorMsp and type goes with any status and any range of blocks. A
    range of times stands alone: /blocks tells the blocks of a time.
    """
    if filters.by_time:
        page = await _read_by_time(call, filters, page_request)
    else:
        page = await call.channel.reader.transactions(
            filters.fields,
            filters.first or 0,
            page_request.last(filters.highest),
            page_request.window,
        )
    cache_control = page_request.cache_control(page, call, filters.highest, by_time=filters.by_time)
    return _page_response(page_request, page, cache_control)


async def _read_by_time(
    call: ChannelCall, filters: TransactionFilters, page_request: PageRequest
) -> Page:
    reader, window = call.channel.reader, page_request.window
    since, until, after_ts = filters.since, filters.until, None
    if window.after is not None:
        number, index = unpack_position(window.after)
        row = await reader.transaction_at(number, index)
        after_ts = resumed_ts(row, since, until)
    return await reader.transactions_by_time(
        since, until, highest_block_below(page_request.height), window, after_ts
    )


def _page_response(page_request: PageRequest, page: Page, cache_control: str) -> ApiResponse:
    rows = [transaction_row(document) for document in page.documents]
    body = TransactionPage(rows, page_request.page_info(page), page_request.height)
    return ApiResponse(body, cache_control)


async def list_block_transactions(call: ChannelCall) -> ApiResponse:
    """The transactions of a block, in order. The page's `height` is the block's own.

    A cursor goes on with the block that was the latest when the paging began.
    """
    text = call.query.get(CURSOR)
    if text is not None and call.path["block"] == b"latest":
        number = decode_cursor(text).height - 1
    else:
        number = int((await find_block(call))["number"])
    page_request = read_page_request(
        call,
        "block transactions",
        (number,),
        order="asc",
        height=min(number, call.last) + 1,
    )
    page = await call.channel.reader.block_transactions(number, page_request.window)
    return _page_response(
        page_request, page, NO_CACHE if call.path["block"] == b"latest" else IMMUTABLE
    )


async def get_block_transaction(call: ChannelCall) -> ApiResponse:
    """The transaction at that place of a block: any envelope, also one without an id of its own.

    It never changes, so `repeats` and `business`, which can, are null here: see the same transaction by its id.
    """
    shown = call.path["index"].decode(errors="replace")
    if not _INDEX.fullmatch(shown) or int(shown) > MAX_INDEX:
        raise invalid_parameter("index", shown, f"an integer from 0 to {MAX_INDEX}")
    block = await find_block(call)
    record = await call.channel.reader.transaction_record_at(int(block["number"]), int(shown))
    if record is None:
        raise ProblemError(
            404,
            "transaction-not-found",
            "Transaction not found",
            f"Block {block['number']} has {block['transactionCount']} transactions.",
            f"Give an index from 0 to {block['transactionCount'] - 1}.",
        )
    detail = transaction_detail(record.transaction, record.event, None)
    return ApiResponse(detail, NO_CACHE if call.path["block"] == b"latest" else IMMUTABLE)


async def get_transaction(call: ChannelCall) -> ApiResponse:
    """The transaction that owns the id, whatever text a client made of that."""
    tx_id = decode_tx_id(call.path["txId"])
    record = await call.channel.reader.transaction_record(tx_id, call.last, MAX_REPEATS)
    if record is None:
        call.require_fresh_head()
        raise transaction_not_found(tx_id)
    business = call.services.business_reports
    if business is None or business.channel != call.channel.name:
        return ApiResponse(
            transaction_detail(record.transaction, record.event, record.repeats), NO_CACHE
        )
    rows: BusinessRows | None = None
    with suppress(BusinessUnavailableError):  # the ledger is what was asked for first
        rows = (await business.rows([tx_id]))[tx_id]
    detail = transaction_detail(
        record.transaction, record.event, record.repeats, rows, business_unavailable=rows is None
    )
    return ApiResponse(detail, NO_CACHE, seconds=_BUSINESS_SECONDS)


def decode_tx_id(raw: bytes) -> str:
    """The id in a path. Raises `ProblemError` for what no stored id can be."""
    try:
        if len(raw) <= MAX_TX_ID_BYTES:
            return raw.decode()
    except UnicodeDecodeError:
        pass  # refused below, as what is too long
    raise ProblemError(
        400,
        "malformed-tx-id",
        "Malformed transaction id",
        f"The transaction id is not UTF-8, or longer than {MAX_TX_ID_BYTES} bytes.",
        "Percent-encode the id's bytes in UTF-8.",
        parameter="txId",
        allowed=f"UTF-8 of 1 to {MAX_TX_ID_BYTES} bytes, percent-encoded",
    )


def transaction_not_found(tx_id: str) -> ProblemError:
    """No envelope on the ledger owns that id."""
    return ProblemError(
        404,
        "transaction-not-found",
        "Transaction not found",
        f"No transaction {quoted(tx_id)} is indexed.",
        "Percent-encode the id; a transaction appears when its block is indexed, compare Ledger-Height.",
    )
