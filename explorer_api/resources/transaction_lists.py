"""Lists of transactions: those of a channel, with filters, and those of a block."""

from explorer_api.http.page_cursors import decode_cursor
from explorer_api.http.parameters import CURSOR
from explorer_api.http.responses import ApiResponse
from explorer_api.resources.blocks import LATEST, block_cache_control, find_block
from explorer_api.resources.filters import resume_time
from explorer_api.resources.transaction_filters import TransactionFilters
from explorer_api.routing.calls import ChannelCall
from explorer_api.routing.page_request import PageRequest, read_page_request
from explorer_api.schemas.transactions import TransactionPage, transaction_row
from ledger.mongodb.paging import Page
from ledger.mongodb.reader import LedgerReader
from ledger.position import unpack_position


async def list_transactions(
    call: ChannelCall, filters: TransactionFilters, page_request: PageRequest
) -> ApiResponse:
    """Return transactions in the order of the chain.

    One of the filters chaincode, creatorMsp and type can be combined with a status and a range of
    blocks; function requires chaincode. With a range of times, transactions are in the order of
    the times that their clients claimed, and no other filter is possible. To combine a range of
    times with filters, find its blocks with /blocks.
    """
    reader = call.channel.reader
    if filters.times.is_bounded:
        page = await _read_by_time(reader, filters, page_request)
    else:
        last = page_request.last(filters.last)
        page = await reader.transactions(
            filters.fields, filters.first or 0, last, page_request.window
        )
    cache_control = page_request.cache_control(
        page, call, filters.last, by_time=filters.times.is_bounded
    )
    return _page_response(call, page_request, page, cache_control)


async def _read_by_time(
    reader: LedgerReader, filters: TransactionFilters, page_request: PageRequest
) -> Page:
    times, window, after_ts = filters.times, page_request.window, None
    if window.after is not None:
        number, index = unpack_position(window.after)
        after_ts = resume_time(await reader.transaction_at(number, index), times)
    return await reader.transactions_by_time(
        times.since, times.until, page_request.last(), window, after_ts
    )


async def list_block_transactions(call: ChannelCall) -> ApiResponse:
    """Return the transactions of a block, in order.

    `height` is the number of the block plus one. With a cursor, `latest` means the block that was
    the latest when the paging began.
    """
    cursor = call.query.get(CURSOR)
    if cursor is not None and call.path["block"] == LATEST:
        number = decode_cursor(cursor).height - 1
    else:
        number = int((await find_block(call))["number"])
    page_request = read_page_request(
        call, "block transactions", (number,), order="asc", height=min(number, call.last) + 1
    )
    page = await call.channel.reader.block_transactions(number, page_request.window)
    return _page_response(call, page_request, page, block_cache_control(call, number))


def _page_response(
    call: ChannelCall, page_request: PageRequest, page: Page, cache_control: str
) -> ApiResponse:
    rows = [transaction_row(document, call.snapshot.agreed_height) for document in page.documents]
    body = TransactionPage(rows, page_request.page_info(page), page_request.height)
    return ApiResponse(body, cache_control)
