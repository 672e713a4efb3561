"""How a client gets the next page of a list."""

from msgspec import Struct


class PageInfo(Struct, frozen=True):
    """The page of a list.

    `next` is the cursor of the next page, null on the last page. A page can have fewer items than
    `limit` although another page follows.
    """

    next: str | None
    limit: int
