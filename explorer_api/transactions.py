"""One transaction, by its id."""

from explorer_api.dispatch import NO_CACHE, Answer, ChannelCall
from explorer_api.problems import ProblemError, quoted
from explorer_api.transaction_details import MAX_REPEATS, transaction_detail
from ledger.model import VALID
from ledger.ownership import MAX_TX_ID_BYTES


async def get_transaction(call: ChannelCall) -> Answer:
    """The transaction that owns the id, whatever text a client made of that."""
    tx_id = _tx_id(call.path["txId"])
    reader = call.channel.reader
    document = await reader.transaction(tx_id, call.last)
    if document is None:
        raise ProblemError(
            404,
            "transaction-not-found",
            "Transaction not found",
            f"No transaction {quoted(tx_id)} is indexed.",
            "Percent-encode the id; a transaction appears when its block is indexed, compare Ledger-Height.",
        )
    valid = document["validationCode"] == VALID
    event = await reader.event_at(document["blockNumber"], document["txIndex"]) if valid else None
    repeats = await reader.repeats(tx_id, call.last, MAX_REPEATS)
    return Answer(transaction_detail(document, event, repeats), NO_CACHE)


def _tx_id(raw: bytes) -> str:
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
