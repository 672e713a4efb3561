"""The history of a key: every committed write of it."""

from explorer_api.http.problems import filter_not_indexed, invalid_parameter
from explorer_api.http.responses import ApiResponse
from explorer_api.resources.page_requests import PageRequest
from explorer_api.routing.calls import ChannelCall
from explorer_api.schemas.keys import KeyHistory, key_write


async def get_key_history(call: ChannelCall) -> ApiResponse:
    """Every committed write of a key in a namespace (a chaincode's name), newest first unless asked otherwise.

    Private data and the metadata of keys are not among them: the ledger has only hashes of the first.
    """
    namespace, key = (_text(call, name) for name in ("namespace", "key"))
    if not (await call.channel.reader.optional_indexes()).key_history:
        raise filter_not_indexed(
            "key",
            "Writes are not indexed by key on this channel.",
            "The operator can set indexer.key_history; the daemon then makes the index.",
        )
    listing = PageRequest(call, "key history", namespace, key)
    page = await call.channel.reader.key_history(
        namespace, key, 0, listing.last(None), listing.window
    )
    items = [key_write(document) for document in page.documents]
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
