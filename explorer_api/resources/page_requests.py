"""What all list routes share: where a page begins, its next cursor, and whether it can still change."""

from datetime import datetime
from typing import Any, cast

from bson.datetime_ms import DatetimeMS

from explorer_api.http.page_cursors import PageCursor, query_digest, read_cursor, write_cursor
from explorer_api.http.parameters import CURSOR, LIMIT, ORDER, Parameter
from explorer_api.http.problems import filter_not_indexed, invalid_cursor, invalid_parameter
from explorer_api.http.responses import NO_CACHE, ONE_DAY
from explorer_api.routing.calls import ChannelCall
from explorer_api.schemas.paging import PageInfo
from ledger.documents.format import Document
from ledger.mongodb.paging import Page, Window
from ledger.position import BlockNumber, highest_block_below


class PageRequest:
    """One request for a page: the window to read, of the blocks that existed when the paging began."""

    def __init__(
        self,
        call: ChannelCall,
        route: str,
        *filters: object,
        order: str | None = None,
        height: int | None = None,
    ) -> None:
        order = call.query.require(ORDER) if order is None else order
        self._question = query_digest(route, call.channel.name, order, *filters)
        self._limit = call.query.require(LIMIT)
        text = call.query.get(CURSOR)
        self._height = call.snapshot.height if height is None else height
        after: int | None = None
        if text is not None:
            cursor = read_cursor(text, self._question)
            if cursor.height > self._height:
                call.require_fresh_head()
                raise invalid_cursor(f"began at height {cursor.height}, above {self._height}")
            self._height, after = cursor.height, cursor.after
        self.window = Window(self._limit, order == "desc", after)

    @property
    def height(self) -> int:
        """The height at which the paging began."""
        return self._height

    def last(self, highest: int | None) -> BlockNumber:
        """The highest block to read, -1 for none; `highest` is the one that the client asked for."""
        below = highest_block_below(self._height)
        return below if highest is None else BlockNumber(min(highest, below))

    def page_info(self, page: Page) -> PageInfo:
        """How the client gets the next page."""
        after = int(page.documents[-1]["_id"]) if page.more and page.documents else None
        following = (
            write_cursor(PageCursor(self._question, self._height, after))
            if after is not None
            else None
        )
        return PageInfo(following, self._limit)

    def caching(
        self, page: Page, call: ChannelCall, highest: int | None, *, by_time: bool = False
    ) -> str:
        """A day for a page that no later block can change; `highest` is the highest block that the client asked for.

        That is any page after the first, one of blocks up to a given one, and, in ascending order, one that others
        follow; unless the order is by time, which a later block can claim as it likes.
        """
        up_to_given = highest is not None and highest <= call.last
        followed = page.more and not self.window.descending and not by_time
        return ONE_DAY if self.window.after is not None or up_to_given or followed else NO_CACHE


def one_of(call: ChannelCall, *parameters: Parameter[Any]) -> None:
    """Raises `ProblemError` where more than one of these filters is given: each has an index of its own."""
    given = [parameter.name for parameter in parameters if call.query.get(parameter) is not None]
    if len(given) > 1:
        raise filter_not_indexed(
            given[1],
            f"No index answers {given[0]} together with {given[1]}.",
            "Leave one of them out, and look at the other in the answers.",
        )


def resumed_ts(
    document: Document | None, since: DatetimeMS | None, until: DatetimeMS | None
) -> datetime:
    """The `ts` at which a list by time is resumed. Raises `ProblemError` for one that the list cannot have shown."""
    ts = document["ts"] if document is not None else None
    if (
        ts is None
        or (since is not None and DatetimeMS(ts) < since)
        or (until is not None and DatetimeMS(ts) >= until)
    ):
        raise invalid_cursor("points at nothing in this range")
    return cast("datetime", ts)


def check_range(
    call: ChannelCall, low: Parameter[Any], high: Parameter[Any], *, strictly: bool = False
) -> None:
    """Raises `ProblemError` where the lower bound of a range is above the upper one (or equal, if `strictly`)."""
    first, last = call.query.get(low), call.query.get(high)
    if first is None or last is None:
        return
    if first > last or (strictly and first == last):
        relation = "less than" if strictly else "at most"
        raise invalid_parameter(
            low.name, call.query.sent(low), f"a value {relation} that of {high.name}"
        )
