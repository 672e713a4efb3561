"""How a client gets the next page of a list."""

from msgspec import Struct


class PageInfo(Struct, frozen=True):
    """The limit of a page, and the cursor of the next page.

    `next` is null on the last page. A page can have fewer items than
    `limit` although another page follows.
    """

    next: str | None
    limit: int
