"""Blocks: the list, and one by number, by hash, or the latest."""

import re

from bson.datetime_ms import DatetimeMS
from msgspec import Struct

from explorer_api.http.parameters import block_number, choice, time
from explorer_api.http.problems import (
    ProblemError,
    block_not_found,
    block_not_indexed_yet,
    filter_not_indexed,
    invalid_parameter,
)
from explorer_api.http.responses import IMMUTABLE, NO_CACHE, ApiResponse
from explorer_api.resources.filters import read_range, resumed_ts
from explorer_api.routing.calls import ChannelCall
from explorer_api.routing.page_request import PageRequest
from explorer_api.schemas.blocks import BlockPage, block_detail, block_row
from ledger.documents.format import Document
from ledger.mongodb.paging import Page
from ledger.position import MAX_BLOCK_NUMBER, highest_block_below

NUMBER_GE = block_number("number.ge")
NUMBER_LE = block_number("number.le")
TS_GE = time("ts.ge")
TS_LT = time("ts.lt")
INCLUDE = choice("include", "transactions")

_HASH = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)


class BlockFilters(Struct, frozen=True):
    """The filters of the list of blocks; None where the client set no bound."""

    first: int | None
    highest: int | None
    since: DatetimeMS | None
    until: DatetimeMS | None

    @property
    def by_time(self) -> bool:
        """Whether the list is ordered by time."""
        return self.since is not None or self.until is not None

    def digest_parts(self) -> tuple[object, ...]:
        """Return all values of the filters."""
        return self.first, self.highest, self.since, self.until


def read_block_filters(call: ChannelCall) -> BlockFilters:
    """Return the filters. Raises `ProblemError` for a combination that no index serves."""
    first, highest = read_range(call.query, NUMBER_GE, NUMBER_LE)
    since, until = read_range(call.query, TS_GE, TS_LT, exclusive=True)
    filters = BlockFilters(first, highest, since, until)
    if filters.by_time and (first is not None or highest is not None):
        raise filter_not_indexed(
            (NUMBER_GE if first is not None else NUMBER_LE).name,
            "No index serves a range of times together with a range of numbers.",
            "Give ts.ge and ts.lt, or number.ge and number.le.",
        )
    return filters


async def list_blocks(
    call: ChannelCall, filters: BlockFilters, page_request: PageRequest
) -> ApiResponse:
    """Blocks by number; with a range of times, by time and then number."""
    if filters.by_time:
        page = await _read_by_time(call, filters, page_request)
    else:
        page = await call.channel.reader.blocks(
            filters.first or 0, page_request.last(filters.highest), page_request.window
        )
    rows = [block_row(document) for document in page.documents]
    return ApiResponse(
        BlockPage(rows, page_request.page_info(page), page_request.height),
        page_request.cache_control(page, call, filters.highest, by_time=filters.by_time),
    )


async def _read_by_time(
    call: ChannelCall, filters: BlockFilters, page_request: PageRequest
) -> Page:
    reader, window = call.channel.reader, page_request.window
    since, until, after_ts = filters.since, filters.until, None
    if window.after is not None:
        after_ts = resumed_ts(await reader.block(window.after), since, until)
    return await reader.blocks_by_time(
        since, until, highest_block_below(page_request.height), window, after_ts
    )


async def get_block(call: ChannelCall) -> ApiResponse:
    """A whole block. By number or hash it never changes."""
    document = await find_block(call)
    transactions = None
    if call.query.get(INCLUDE) is not None:
        transactions = await call.channel.reader.transaction_rows(document["number"])
    return ApiResponse(
        block_detail(document, transactions),
        NO_CACHE if call.path["block"] == b"latest" else IMMUTABLE,
    )


async def get_raw_block(call: ChannelCall) -> ApiResponse:
    """The bytes of a block, as the peer delivered them. This program does not keep them."""
    block = await find_block(call)
    raise ProblemError(
        410,
        "raw-not-retained",
        "Raw block not retained",
        f"The bytes of block {block['number']} are not kept, only what they say.",
        "Ask a peer for them, as `peer channel fetch` does; envelopeHash of a transaction proves them.",
    )


async def find_block(call: ChannelCall) -> Document:
    """The block that the path names, by number, by hash, or as the latest. Raises `ProblemError`."""
    reader, reference = call.channel.reader, call.path["block"].decode(errors="replace")
    if reference == "latest":
        if call.snapshot.head is None:
            raise _missing_number(0, call)
        return call.snapshot.head
    if _HASH.fullmatch(reference):
        found = await reader.block_by_hash(reference.lower(), call.last)
        if found is None:
            call.require_fresh_head()
            raise block_not_found(
                f"with hash {reference.lower()}",
                "Block hashes are those of the headers; a new block may be on its way.",
            )
        return found
    number = int(reference) if _NUMBER.fullmatch(reference) else MAX_BLOCK_NUMBER + 1
    if number > MAX_BLOCK_NUMBER:
        raise invalid_parameter(
            "block", reference, f"a number from 0 to {MAX_BLOCK_NUMBER}, a hash, or latest"
        )
    document = await reader.block(number) if number <= call.last else None
    if document is None:
        raise _missing_number(number, call)
    return document


def _missing_number(number: int, call: ChannelCall) -> ProblemError:
    call.require_fresh_head()
    snapshot = call.snapshot
    if snapshot.height <= number < (snapshot.peer_height or 0):
        return block_not_indexed_yet(str(number), snapshot.height, snapshot.peer_height or 0)
    if snapshot.first is None:
        return block_not_found(
            str(number), "Nothing of this channel is indexed yet; see /api/v1/status."
        )
    return block_not_found(
        str(number), f"Indexed are blocks {snapshot.first['number']} to {snapshot.height - 1}."
    )
