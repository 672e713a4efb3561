"""The history of a key: every committed write of it."""

from msgspec import Struct

from explorer_api.http.problems import filter_not_indexed, invalid_parameter
from explorer_api.http.responses import ApiResponse
from explorer_api.routing.calls import ChannelCall
from explorer_api.routing.page_request import PageRequest
from explorer_api.schemas.keys import KeyHistory, key_write


class KeyFilter(Struct, frozen=True):
    """The key whose history is listed."""

    namespace: str
    key: str

    def digest_parts(self) -> tuple[object, ...]:
        """Return all values of the filter."""
        return self.namespace, self.key


def read_key_filter(call: ChannelCall) -> KeyFilter:
    """Return the key in the path. Raises `ProblemError` when it is not UTF-8."""
    return KeyFilter(_decode_variable(call, "namespace"), _decode_variable(call, "key"))


async def get_key_history(
    call: ChannelCall, key_filter: KeyFilter, page_request: PageRequest
) -> ApiResponse:
    """Return the committed writes of a key, the newest first unless order is asc.

    The namespace is the name of a chaincode. Private keys and the metadata of keys have no history.
    """
    reader = call.channel.reader
    if not (await reader.optional_indexes()).key_history:
        raise filter_not_indexed(
            "key",
            "Writes are not indexed by key on this channel.",
            "The operator can set indexer.key_history: the daemon then creates the index.",
        )
    page = await reader.key_history(
        key_filter.namespace, key_filter.key, 0, page_request.last(), page_request.window
    )
    items = [key_write(document) for document in page.documents]
    return ApiResponse(
        KeyHistory(items, page_request.page_info(page), page_request.height),
        page_request.cache_control(page, call),
    )


def _decode_variable(call: ChannelCall, name: str) -> str:
    try:
        return call.path[name].decode()
    except UnicodeDecodeError:
        shown = call.path[name].decode(errors="backslashreplace")
        raise invalid_parameter(name, shown, "UTF-8, percent-encoded") from None
