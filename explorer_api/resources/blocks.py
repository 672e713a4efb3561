"""Blocks: the list, and one block by its number or hash, or the latest."""

import re
from typing import Final

from msgspec import Struct

from explorer_api.http.parameters import block_number, choice, time
from explorer_api.http.problems import (
    ProblemError,
    block_not_found,
    block_not_indexed_yet,
    filter_not_indexed,
    invalid_parameter,
)
from explorer_api.http.responses import IMMUTABLE, NO_CACHE, PROTOBUF, ApiResponse
from explorer_api.resources.filters import TimeRange, read_range, read_time_range, resume_time
from explorer_api.resources.verdicts import verification_of_block
from explorer_api.routing.calls import ChannelCall
from explorer_api.routing.page_request import PageRequest
from explorer_api.schemas.blocks import BlockPage, block_detail, block_row
from ledger.documents.format import Document
from ledger.mongodb.block_identities import block_identity
from ledger.mongodb.paging import Page
from ledger.mongodb.reader import LedgerReader
from ledger.position import MAX_BLOCK_NUMBER

NUMBER_GE: Final = block_number("number.ge")
NUMBER_LE: Final = block_number("number.le")
TS_GE: Final = time("ts.ge")
TS_LT: Final = time("ts.lt")
INCLUDE: Final = choice("include", "transactions")

LATEST: Final = b"latest"
BLOCK_HASH: Final = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
BLOCK_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)


class BlockFilters(Struct, frozen=True):
    """The filters in a request.

    `first` and `last` are the numbers of the first and last block, None for no bound.
    """

    first: int | None
    last: int | None
    times: TimeRange

    def digest_parts(self) -> tuple[object, ...]:
        """Return all values of the filters."""
        return self.first, self.last, self.times.since, self.times.until


def read_block_filters(call: ChannelCall) -> BlockFilters:
    """Return the filters. Raises `ProblemError` when no index supports their combination."""
    first, last = read_range(call.query, NUMBER_GE, NUMBER_LE)
    times = read_time_range(call.query, TS_GE, TS_LT)
    if times.is_bounded and (first is not None or last is not None):
        raise filter_not_indexed(
            (NUMBER_GE if first is not None else NUMBER_LE).name,
            "No index supports a range of times together with a range of numbers.",
            "Give ts.ge and ts.lt, or number.ge and number.le.",
        )
    return BlockFilters(first, last, times)


async def list_blocks(
    call: ChannelCall, filters: BlockFilters, page_request: PageRequest
) -> ApiResponse:
    """Return blocks in the order of their numbers.

    With a range of times, the blocks are in the order of their times.
    """
    reader = call.channel.reader
    if filters.times.is_bounded:
        page = await _read_by_time(reader, filters.times, page_request)
    else:
        last = page_request.last(filters.last)
        page = await reader.blocks(filters.first or 0, last, page_request.window)
    rows = [block_row(document, call.snapshot.agreed_height) for document in page.documents]
    cache_control = page_request.cache_control(
        page, call, filters.last, by_time=filters.times.is_bounded
    )
    return ApiResponse(
        BlockPage(rows, page_request.page_info(page), page_request.height), cache_control
    )


async def _read_by_time(reader: LedgerReader, times: TimeRange, page_request: PageRequest) -> Page:
    window, after_ts = page_request.window, None
    if window.after is not None:
        after_ts = resume_time(await reader.block(window.after), times)
    return await reader.blocks_by_time(
        times.since, times.until, page_request.last(), window, after_ts
    )


async def get_block(call: ChannelCall) -> ApiResponse:
    """Return a block.

    The response to the number or hash of a block never changes once the block is agreed, and
    verified if the daemon verifies signatures.
    """
    document = await find_block(call)
    transactions = None
    if call.query.get(INCLUDE) is not None:
        transactions = await call.channel.reader.transaction_rows(document["number"])
    verification = await verification_of_block(call, document)
    detail = block_detail(document, transactions, call.snapshot.agreed_height, verification)
    return ApiResponse(detail, block_cache_control(call, document["number"]))


async def get_raw_block(call: ChannelCall) -> ApiResponse:
    """Return a block as a peer delivered it, a serialized `common.Block` of Fabric.

    Before it is sent, its envelopes are compared with its header, and its hash, validation codes
    and commit hash with the stored block. The orderers' signatures in it are those of the peer that
    delivered it: another peer may have those of another quorum.
    """
    block = await find_block(call)
    raw = await call.services.raw_blocks.read(call.channel.raw_blocks, block_identity(block))
    return ApiResponse(
        raw.data,
        block_cache_control(call, block["number"]),
        content_type=PROTOBUF,
        etag=raw.etag,
    )


def block_cache_control(call: ChannelCall, number: int) -> str:
    """Return the Cache-Control of a response about the block in the path, which has this number."""
    is_final = call.path["block"] != LATEST and number < call.snapshot.final_height
    return IMMUTABLE if is_final else NO_CACHE


async def find_block(call: ChannelCall) -> Document:
    """Return the block in the path: by number, by hash, or the latest. Raises `ProblemError`."""
    reader, reference = call.channel.reader, call.path["block"].decode(errors="replace")
    if call.path["block"] == LATEST:
        return head_block(call)
    if BLOCK_HASH.fullmatch(reference):
        block = await reader.block_by_hash(reference.lower(), call.last)
        if block is None:
            call.require_fresh_head()
            raise block_not_found(
                f"with hash {reference.lower()}",
                "The hash of a block is that of its header. A new block may not be indexed yet.",
            )
        return block
    number = int(reference) if BLOCK_NUMBER.fullmatch(reference) else MAX_BLOCK_NUMBER + 1
    if number > MAX_BLOCK_NUMBER:
        raise invalid_parameter(
            "block", reference, f"a number from 0 to {MAX_BLOCK_NUMBER}, a hash, or latest"
        )
    return await read_block(call, number)


def head_block(call: ChannelCall) -> Document:
    """Return the latest block. Raises `ProblemError` if no block is indexed."""
    if call.snapshot.head is None:
        raise _number_not_found(0, call)
    return call.snapshot.head


async def read_block(call: ChannelCall, number: int) -> Document:
    """Return the block with this number. Raises `ProblemError` if it is not indexed."""
    block = await call.channel.reader.block(number) if number <= call.last else None
    if block is None:
        raise _number_not_found(number, call)
    return block


def _number_not_found(number: int, call: ChannelCall) -> ProblemError:
    call.require_fresh_head()
    snapshot = call.snapshot
    if snapshot.height <= number < (snapshot.peer_height or 0):
        return block_not_indexed_yet(number, snapshot.height, snapshot.peer_height or 0)
    if snapshot.first is None:
        return block_not_found(
            str(number), "No block of this channel is indexed yet; see /api/v1/status."
        )
    first, last = snapshot.first["number"], snapshot.height - 1
    return block_not_found(str(number), f"Blocks {first} to {last} are indexed.")
