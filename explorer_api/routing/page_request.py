"""Page requests: which part of a list a client requests, and how it gets the next part."""

from typing import Protocol

from msgspec import Struct

from explorer_api.http.page_cursors import PageCursor, query_digest, read_cursor, write_cursor
from explorer_api.http.parameters import CURSOR, LIMIT, ORDER
from explorer_api.http.problems import invalid_cursor
from explorer_api.http.responses import NO_CACHE, ONE_DAY
from explorer_api.routing.calls import ChannelCall
from explorer_api.schemas.paging import PageInfo
from ledger.mongodb.paging import Page, Window
from ledger.position import BlockNumber, highest_block_below


class Filters(Protocol):
    """The filters of a list, parsed."""

    def digest_parts(self) -> tuple[object, ...]:
        """Return all values of the filters: a cursor is only valid for equal values."""


class PageRequest(Struct, frozen=True):
    """A request for one page of a list: `window` is the part of the list to read.

    `height` is the height of the ledger when the paging began: no page shows a block above it.
    `query_digest` is the digest of the query to which the cursors belong.
    """

    window: Window
    height: int
    query_digest: str

    def last(self, highest: int | None = None) -> BlockNumber:
        """Return the highest block to read, -1 for none; `highest` is the bound of a filter."""
        below = highest_block_below(self.height)
        return below if highest is None else BlockNumber(min(highest, below))

    def page_info(self, page: Page) -> PageInfo:
        """Return the cursor of the page that follows, if there is one."""
        following = None
        if page.more and page.documents:
            after = int(page.documents[-1]["_id"])
            following = write_cursor(PageCursor(self.query_digest, self.height, after))
        return PageInfo(following, self.window.limit)

    def cache_control(
        self, page: Page, call: ChannelCall, highest: int | None = None, *, by_time: bool = False
    ) -> str:
        """Return the Cache-Control: a day if no later block can change the page, else `no-cache`.

        No later block changes a page after the first one, a page whose upper bound `highest` is
        stored, or, in ascending order of blocks, a page that is followed by another. In an order
        `by_time`, a later block can come before stored ones. A page of blocks that are not agreed
        yet changes when they are.
        """
        ends_at_stored_block = highest is not None and highest <= call.last
        is_full = page.more and not self.window.descending and not by_time
        is_final = self.window.after is not None or ends_at_stored_block or is_full
        is_final = is_final and call.snapshot.agreed_height > self.last(highest)
        return ONE_DAY if is_final else NO_CACHE


def read_page_request(
    call: ChannelCall,
    list_name: str,
    digest_parts: tuple[object, ...],
    *,
    order: str | None = None,
    height: int | None = None,
) -> PageRequest:
    """Return the page that the parameters `limit`, `cursor` and `order` ask for.

    `order` and `height` replace the parameter and the height of the head. Raises `ProblemError`
    for a cursor of another query, or of a height above that of the ledger.
    """
    order = call.query.require(ORDER) if order is None else order
    height = call.snapshot.height if height is None else height
    digest = query_digest(list_name, call.channel.name, order, *digest_parts)
    after: int | None = None
    text = call.query.get(CURSOR)
    if text is not None:
        cursor = read_cursor(text, digest)
        if cursor.height > height:
            call.require_fresh_head()
            raise invalid_cursor(f"began at height {cursor.height}, above {height}")
        height, after = cursor.height, cursor.after
    window = Window(call.query.require(LIMIT), order == "desc", after)
    return PageRequest(window, height, digest)
