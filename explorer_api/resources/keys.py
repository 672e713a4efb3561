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
    """Return the key that the path names. Raises `ProblemError` if it is not UTF-8."""
    return KeyFilter(_decode(call, "namespace"), _decode(call, "key"))


async def get_key_history(
    call: ChannelCall, written: KeyFilter, page_request: PageRequest
) -> ApiResponse:
    """Every committed write of a key in a namespace (a chaincode's name), newest first unless asked otherwise.

    Private data and the metadata of keys are not among them: the ledger has only hashes of the first.
    """
    if not (await call.channel.reader.optional_indexes()).key_history:
        raise filter_not_indexed(
            "key",
            "Writes are not indexed by key on this channel.",
            "The operator can set indexer.key_history; the daemon then makes the index.",
        )
    page = await call.channel.reader.key_history(
        written.namespace, written.key, 0, page_request.last(None), page_request.window
    )
    items = [key_write(document) for document in page.documents]
    return ApiResponse(
        KeyHistory(items, page_request.page_info(page), page_request.height),
        page_request.cache_control(page, call, None),
    )


def _decode(call: ChannelCall, name: str) -> str:
    try:
        return call.path[name].decode()
    except UnicodeDecodeError:
        shown = call.path[name].decode(errors="backslashreplace")
        raise invalid_parameter(name, shown, "UTF-8, percent-encoded") from None
