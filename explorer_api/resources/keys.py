"""The history of a key: every committed write of it."""

from datetime import datetime

from msgspec import Struct

from explorer_api.http.dispatch import ChannelCall
from explorer_api.http.problems import filter_not_indexed, invalid_parameter
from explorer_api.http.responses import ApiResponse
from explorer_api.resources.page_requests import PageRequest
from explorer_api.schemas.rows import PageInfo, transaction_id
from explorer_api.schemas.values import Encoding, Text, value
from ledger.documents.format import Document


class KeyWrite(Struct, frozen=True, rename="camel"):
    """A write of the key that was committed, or its deletion. `tx_id` is null if its transaction owns no id."""

    block: int
    tx_index: int
    tx_id: Text | None
    ts: datetime | None
    value: Text | None
    encoding: Encoding | None
    is_delete: bool


class KeyHistory(Struct, frozen=True):
    """Writes in blocks below `height`, the ledger's when the paging began."""

    items: list[KeyWrite]
    page: PageInfo
    height: int


async def get_key_history(call: ChannelCall) -> ApiResponse:
    """Every committed write of a key in a namespace (a chaincode's name), newest first unless asked otherwise.

    Private data and the metadata of keys are not among them: the ledger has only hashes of the first.
    """
    namespace, key = (_text(call, name) for name in ("namespace", "key"))
    if not (await call.channel.reader.indexed()).key_history:
        raise filter_not_indexed(
            "key",
            "Writes are not indexed by key on this channel.",
            "The operator can set indexer.key_history; the daemon then makes the index.",
        )
    listing = PageRequest(call, "key history", namespace, key)
    page = await call.channel.reader.key_history(
        namespace, key, 0, listing.last(None), listing.window
    )
    items = [_write(document) for document in page.documents]
    return ApiResponse(
        KeyHistory(items, listing.page_info(page), listing.height),
        listing.caching(page, call, None),
    )


def _text(call: ChannelCall, name: str) -> str:
    try:
        return call.path[name].decode()
    except UnicodeDecodeError:
        raise invalid_parameter(
            name, call.path[name].decode(errors="backslashreplace"), "UTF-8, percent-encoded"
        ) from None


def _write(document: Document) -> KeyWrite:
    written = document["writes"][-1]
    shown = value(written.get("value"))
    return KeyWrite(
        block=document["blockNumber"],
        tx_index=document["txIndex"],
        tx_id=transaction_id(document["txId"]),
        ts=document["ts"],
        value=shown.value,
        encoding=shown.encoding,
        is_delete=written["isDelete"],
    )
