"""A transaction: by its id, or by its index in a block."""

import re
from contextlib import suppress
from typing import Final

from explorer_api.http.problems import ProblemError, invalid_parameter, quoted
from explorer_api.http.responses import NO_CACHE, ApiResponse
from explorer_api.resources.blocks import block_cache_control, find_block
from explorer_api.resources.verdicts import verification_of_transaction
from explorer_api.routing.calls import ChannelCall
from explorer_api.schemas.transactions import transaction_detail
from ledger.mongodb.transaction_records import TransactionRecord
from ledger.ownership import MAX_TX_ID_BYTES
from ledger.position import MAX_INDEX
from reconciliation.reports import BusinessRows, BusinessUnavailableError

_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,6}", re.ASCII)
_BUSINESS_CACHE_S: Final = 1.0


async def get_block_transaction(call: ChannelCall) -> ApiResponse:
    """Return the transaction with an index in a block, whether or not it owns an id.

    The response for a block that is agreed, and verified if the daemon verifies signatures, never
    changes. So `repeats` and `business`, which can change,
    are null; the response to a request by transaction id has them.
    """
    record = await find_block_transaction(call)
    detail = transaction_detail(
        record.transaction,
        record.event,
        None,
        agreed_height=call.snapshot.agreed_height,
        verification=await verification_of_transaction(call, record.transaction),
    )
    return ApiResponse(detail, block_cache_control(call, record.transaction["blockNumber"]))


async def find_block_transaction(call: ChannelCall) -> TransactionRecord:
    """Return the transaction at the index in the path. Raises `ProblemError` if there is none."""
    index = call.path["index"].decode(errors="replace")
    if not _INDEX.fullmatch(index) or int(index) > MAX_INDEX:
        raise invalid_parameter("index", index, f"an integer from 0 to {MAX_INDEX}")
    block = await find_block(call)
    record = await call.channel.reader.transaction_record_at(int(block["number"]), int(index))
    if record is None:
        raise ProblemError(
            404,
            "transaction-not-found",
            "Transaction not found",
            f"Block {block['number']} has {block['transactionCount']} transactions.",
            f"Give an index from 0 to {block['transactionCount'] - 1}.",
        )
    return record


async def get_transaction(call: ChannelCall) -> ApiResponse:
    """Return the transaction that owns an id. An id can be any text that a client chose."""
    tx_id = decode_tx_id(call.path["txId"])
    record = await call.channel.reader.transaction_record(tx_id, call.last)
    if record is None:
        call.require_fresh_head()
        raise transaction_not_found(tx_id)
    verification = await verification_of_transaction(call, record.transaction)
    reports = call.business_reports
    if reports is None:
        detail = transaction_detail(
            record.transaction,
            record.event,
            record.repeats,
            agreed_height=call.snapshot.agreed_height,
            verification=verification,
        )
        return ApiResponse(detail, NO_CACHE)
    rows: BusinessRows | None = None
    with suppress(BusinessUnavailableError):  # the ledger's part of the response does not need it
        rows = (await reports.rows([tx_id]))[tx_id]
    detail = transaction_detail(
        record.transaction,
        record.event,
        record.repeats,
        rows,
        agreed_height=call.snapshot.agreed_height,
        verification=verification,
        business_unavailable=rows is None,
    )
    return ApiResponse(detail, NO_CACHE, seconds=_BUSINESS_CACHE_S)


def decode_tx_id(raw: bytes) -> str:
    """Return the transaction id in a path. Raises `ProblemError` when no id can have the bytes."""
    try:
        if len(raw) <= MAX_TX_ID_BYTES:
            return raw.decode()
    except UnicodeDecodeError:
        pass  # the problem below says so
    raise ProblemError(
        400,
        "malformed-tx-id",
        "Malformed transaction id",
        f"The transaction id is not UTF-8, or has more than {MAX_TX_ID_BYTES} bytes.",
        "Percent-encode the UTF-8 bytes of the id.",
        parameter="txId",
        allowed=f"UTF-8 of 1 to {MAX_TX_ID_BYTES} bytes, percent-encoded",
    )


def transaction_not_found(tx_id: str) -> ProblemError:
    """Return the problem that no indexed transaction owns the id."""
    return ProblemError(
        404,
        "transaction-not-found",
        "Transaction not found",
        f"No transaction with the id {quoted(tx_id)} is indexed.",
        "Percent-encode the id. A transaction is indexed together with its block: compare the "
        "number of the block with Ledger-Height.",
    )
