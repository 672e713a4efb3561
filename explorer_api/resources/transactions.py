"""Transactions: the list, those of a block, and one by its id or its place."""

import re
from contextlib import suppress
from typing import Any, Final

from bson.datetime_ms import DatetimeMS

from explorer_api.http.page_cursors import decode_cursor
from explorer_api.http.parameters import CURSOR, Parameter, block_number, several, text, time
from explorer_api.http.problems import ProblemError, filter_not_indexed, invalid_parameter, quoted
from explorer_api.http.responses import IMMUTABLE, NO_CACHE, ApiResponse
from explorer_api.resources.blocks import find_block
from explorer_api.resources.page_requests import PageRequest, check_range, one_of, resumed_ts
from explorer_api.routing.calls import ChannelCall
from explorer_api.schemas.transactions import (
    MAX_REPEATS,
    TransactionPage,
    transaction_detail,
    transaction_row,
)
from ledger.documents.code_names import STATUS_NAMES, validation_code
from ledger.mongodb.paging import Page
from ledger.mongodb.transaction_queries import TransactionFilter
from ledger.ownership import MAX_TX_ID_BYTES
from ledger.position import MAX_INDEX, highest_block_below, unpack_position
from reconciliation.reports import BusinessRows, BusinessUnavailableError

MAX_NAME_BYTES = 1 << 16
_INDEX = re.compile(r"0|[1-9][0-9]{0,6}", re.ASCII)
_BUSINESS_SECONDS = 1.0


def _code(status: str) -> int:
    code = validation_code(status)
    if code is None:
        raise ValueError
    return code


_STATUS = "a validation code's name, such as VALID, or its number"
_STATUS_SCHEMA = {
    "type": "string",
    "anyOf": [
        {"enum": list(STATUS_NAMES)},
        {"pattern": "^(0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$"},
    ],
}

BLOCK_GE = block_number("block.ge")
BLOCK_LE = block_number("block.le")
TS_GE = time("ts.ge")
TS_LT = time("ts.lt")
CHAINCODE = text("chaincode", "a chaincode's name", MAX_NAME_BYTES)
FUNCTION = text("function", "a function's name; needs chaincode", MAX_NAME_BYTES)
CREATOR_MSP = text("creatorMsp", "the MSP id of the creator's organisation", MAX_NAME_BYTES)
TYPE = text(
    "type", "a header type's name, such as ENDORSER_TRANSACTION or CONFIG, or its number", 64
)
STATUS_EQ = Parameter("status.eq", _STATUS, _code, _STATUS_SCHEMA)
STATUS_NE = Parameter("status.ne", _STATUS, _code, _STATUS_SCHEMA)
STATUS_IN = several("status.in", _code, _STATUS, _STATUS_SCHEMA)
STATUS_NI = several("status.ni", _code, _STATUS, _STATUS_SCHEMA)
FILTERS: Final[tuple[Parameter[Any], ...]] = (
    *(CHAINCODE, FUNCTION, CREATOR_MSP, TYPE, STATUS_EQ, STATUS_NE, STATUS_IN, STATUS_NI),
    *(BLOCK_GE, BLOCK_LE, TS_GE, TS_LT),
)


async def list_transactions(call: ChannelCall) -> ApiResponse:
    """Transactions by their place on the chain; with a range of times, by the client's time and then place.

    One of chaincode, chaincode with function, creatorMsp and type goes with any status and any range of blocks. A
    range of times stands alone: /blocks tells the blocks of a time.
    """
    since, until = call.query.get(TS_GE), call.query.get(TS_LT)
    first, highest = call.query.get(BLOCK_GE), call.query.get(BLOCK_LE)
    check_range(call, BLOCK_GE, BLOCK_LE)
    check_range(call, TS_GE, TS_LT, strictly=True)
    wanted = _filter(call)
    times = [int(bound) if bound is not None else None for bound in (since, until)]
    codes = sorted(wanted.codes) if wanted.codes is not None else None
    asked = (
        wanted.chaincode,
        wanted.function,
        wanted.creator_msp,
        wanted.type,
        codes,
        wanted.excluded,
    )
    listing = PageRequest(call, "transactions", first, highest, *times, *asked)
    by_time = since is not None or until is not None
    if by_time:
        _alone(call)
        page = await _by_time(call, listing, since, until)
    else:
        page = await call.channel.reader.transactions(
            wanted, first or 0, listing.last(highest), listing.window
        )
    return _page(listing, page, listing.caching(page, call, highest, by_time=by_time))


def _page(listing: PageRequest, page: Page, caching: str) -> ApiResponse:
    rows = [transaction_row(document) for document in page.documents]
    return ApiResponse(TransactionPage(rows, listing.page_info(page), listing.height), caching)


def _filter(call: ChannelCall) -> TransactionFilter:
    one_of(call, CHAINCODE, CREATOR_MSP, TYPE)
    chaincode, function = call.query.get(CHAINCODE), call.query.get(FUNCTION)
    if function is not None and chaincode is None:
        raise filter_not_indexed(
            FUNCTION.name,
            "Functions are indexed by chaincode.",
            f"Give {CHAINCODE.name} together with it.",
        )
    codes, excluded = _codes(call)
    return TransactionFilter(
        chaincode, function, call.query.get(CREATOR_MSP), call.query.get(TYPE), codes, excluded
    )


def _codes(call: ChannelCall) -> tuple[frozenset[int] | None, bool]:
    """The codes that the status filter names, and whether it excludes them."""
    single: tuple[tuple[Parameter[int], bool], ...] = ((STATUS_EQ, False), (STATUS_NE, True))
    listed: tuple[tuple[Parameter[tuple[int, ...]], bool], ...] = (
        (STATUS_IN, False),
        (STATUS_NI, True),
    )
    found: list[tuple[Parameter[Any], set[int], bool]] = []
    found += [
        (p, {code}, excluded) for p, excluded in single if (code := call.query.get(p)) is not None
    ]
    found += [
        (p, set(codes), excluded)
        for p, excluded in listed
        if (codes := call.query.get(p)) is not None
    ]
    if len(found) > 1:
        first, second = found[0][0], found[1][0]
        raise invalid_parameter(
            second.name, call.query.sent(second), f"nothing where {first.name} is given"
        )
    return (frozenset(found[0][1]), found[0][2]) if found else (None, False)


def _alone(call: ChannelCall) -> None:
    for parameter in FILTERS:
        if parameter not in (TS_GE, TS_LT) and call.query.get(parameter) is not None:
            raise filter_not_indexed(
                parameter.name,
                f"No index answers a range of times together with {parameter.name}.",
                "Give block.ge and block.le instead of the times: /blocks?ts.ge=…&ts.lt=… tells which blocks.",
            )


async def _by_time(
    call: ChannelCall, listing: PageRequest, since: DatetimeMS | None, until: DatetimeMS | None
) -> Page:
    reader = call.channel.reader
    after_ts = None
    if listing.window.after is not None:
        number, index = unpack_position(listing.window.after)
        row = await reader.transaction_at(number, index)
        after_ts = resumed_ts(row, since, until)
    return await reader.transactions_by_time(
        since, until, highest_block_below(listing.height), listing.window, after_ts
    )


async def list_block_transactions(call: ChannelCall) -> ApiResponse:
    """The transactions of a block, in order. The page's `height` is the block's own.

    A cursor goes on with the block that was the latest when the paging began.
    """
    text = call.query.get(CURSOR)
    if text is not None and call.path["block"] == b"latest":
        number = decode_cursor(text).height - 1
    else:
        number = int((await find_block(call))["number"])
    listing = PageRequest(
        call, "block transactions", number, order="asc", height=min(number, call.last) + 1
    )
    page = await call.channel.reader.block_transactions(number, listing.window)
    return _page(listing, page, NO_CACHE if call.path["block"] == b"latest" else IMMUTABLE)


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
