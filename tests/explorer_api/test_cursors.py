"""Cursors that are altered, or sent with another request: refused, or a part of the list."""

import base64
import json
from itertools import product
from urllib.parse import quote

import pytest
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer_api.http.page_cursors import PageCursor, query_digest, read_cursor
from explorer_api.http.parameters import CURSOR, ORDER
from explorer_api.resources.blocks import BlockFilters
from explorer_api.resources.events import EventFilters
from explorer_api.resources.filters import TimeRange
from explorer_api.resources.keys import KeyFilter
from explorer_api.resources.transaction_filters import TransactionFilters
from explorer_api.routes import ROUTES
from explorer_api.routing.page_request import Filters
from explorer_api.routing.route import AnyRoute
from ledger.mongodb.event_queries import EventFilter
from ledger.mongodb.transaction_queries import TransactionFilter
from ledger.position import pack_position
from tests.explorer_api.examples import check_refused, path, request_checked
from tests.explorer_api.support import Api, Json

TIME = DatetimeMS(1_769_878_800_001)
PAGED = [route for route in ROUTES if CURSOR in route.parameters]


class PagedList:
    """All items of a list, and the cursors of its pages."""

    def __init__(self, route: AnyRoute, url: str) -> None:
        self.route, self.url = route, url
        self.items: list[Json] = []
        self.cursors: list[str] = []

    async def read(self, api: Api) -> "PagedList":
        """Read a few pages of one item, which give cursors, then the rest in large pages."""
        following = ""
        while True:
            limit = 1 if len(self.cursors) < 5 else 500
            body = (
                await request_checked(api, self.route, f"{self.url}&limit={limit}{following}")
            ).json
            self.items += body["items"]
            if body["page"]["next"] is None:
                return self
            self.cursors.append(body["page"]["next"])
            following = f"&cursor={self.cursors[-1]}"

    async def check(self, api: Api, cursor: str, limit: int) -> None:
        """Check that the cursor gives a part of the list, or is refused."""
        response = await request_checked(
            api, self.route, f"{self.url}&limit={limit}&cursor={quote(cursor, safe='')}"
        )
        if response.status == 400:
            assert response.json["parameter"] == "cursor"
            return
        assert response.status == 200
        body = response.json
        items = body["items"]
        items_below_height = [
            item for item in self.items if "height" not in body or block_of(item) < body["height"]
        ]
        starts = [index for index, item in enumerate(items_below_height) if items[:1] == [item]]
        assert not items or [
            items_below_height[start : start + len(items)] for start in starts
        ] == [items], cursor


def block_of(item: Json) -> int:
    return int(item["block"] if "block" in item else item["number"])


@pytest.fixture
async def paged_lists(whole_api: Api, a_transaction: str) -> list[PagedList]:
    """Return every list of the API, in both orders, and in the order of time."""
    lists = []
    for route in PAGED:
        names = {parameter.name for parameter in route.parameters}
        ranges = ["", *(["ts.ge=2000-01-01T00:00:00Z"] if "ts.ge" in names else [])]
        orders = ["order=desc", "order=asc"] if ORDER.name in names else [""]
        for parameters in product(orders, ranges):
            url = f"{path(route, a_transaction, block='135')}?{'&'.join(parameters)}"
            lists.append(await PagedList(route, url).read(whole_api))
    return lists


DIGESTS: dict[str, tuple[str, str, Filters]] = {
    "b01a56b09544db2b": (
        "blocks",
        "desc",
        BlockFilters(1, None, TimeRange(TIME, None)),
    ),
    "ca19464de919edb2": (
        "transactions",
        "asc",
        TransactionFilters(
            None,
            5,
            TimeRange(None, TIME),
            TransactionFilter("cc", "fn", codes=frozenset({11, 0}), excluded=True),
        ),
    ),
    "e611f4903df8cb00": (
        "events",
        "desc",
        EventFilters(None, None, EventFilter("cc", ("a", "b"), None, ("p", "v"))),
    ),
    "984aec1ccecaf51c": ("key history", "desc", KeyFilter("ns", "k")),
}
"""Digests that are in cursors of clients, with the name of the list, the order and the filters."""


@pytest.mark.parametrize("digest", DIGESTS)
def test_cursors_of_earlier_versions_remain_valid(digest: str) -> None:
    list_name, order, filters = DIGESTS[digest]
    assert query_digest(list_name, "kindledger", order, *filters.digest_parts()) == digest
    cursor = encode({"question": digest, "height": 3, "after": 4})
    assert read_cursor(cursor, digest) == PageCursor(digest, 3, 4)


async def test_a_cursor_of_another_list_is_refused(
    whole_api: Api, paged_lists: list[PagedList]
) -> None:
    for paged_list in paged_lists:
        for other in paged_lists:
            for cursor in other.cursors[:1] if other is not paged_list else ():
                await check_refused(
                    whole_api,
                    paged_list.route,
                    f"{paged_list.url}&cursor={cursor}",
                    "invalid-cursor",
                    "cursor",
                )


async def test_cursors_with_extreme_values_are_refused_or_give_a_part_of_the_list(
    whole_api: Api, paged_lists: list[PagedList]
) -> None:
    for paged_list in paged_lists:
        for cursor in paged_list.cursors[:1]:
            for name in ("after", "height"):
                for value in (0, 1, 2**53, 2**63 - 2, 2**63 - 1, 2**63, 2**64):
                    await paged_list.check(whole_api, encode(decode(cursor) | {name: value}), 500)


async def check_altered_cursor(api: Api, paged_lists: list[PagedList], data: st.DataObject) -> None:
    paged_list = data.draw(st.sampled_from(paged_lists))
    text = data.draw(altered(paged_list.cursors) if paged_list.cursors else st.text(max_size=600))
    await paged_list.check(api, text, data.draw(st.integers(1, 500)))


numbers = st.one_of(
    st.integers(0, 200), st.integers(-2, 2**64), st.sampled_from([2**53, 2**63 - 1, 2**63, -1])
)


@st.composite
def altered(draw: st.DrawFn, cursors: list[str]) -> str:
    """Return a cursor of a list, usually altered."""
    cursor: str = draw(st.sampled_from(cursors))
    fields = decode(cursor)
    index = draw(st.integers(0, len(cursor)))
    strategy: st.SearchStrategy[str] = st.one_of(
        st.just(cursor),
        st.builds(lambda height: encode(fields | {"height": height}), numbers),
        st.builds(lambda after: encode(fields | {"after": after}), numbers),
        st.builds(
            lambda change: encode(fields | {"after": max(0, after_of(fields) + change)}),
            st.integers(-9, 9),
        ),
        st.builds(
            lambda change: encode(fields | {"after": after_of(fields) + pack_position(change, 0)}),
            st.integers(-9, 9),
        ),
        st.builds(
            lambda digits: encode(fields | {"after": digits}),
            st.text("0123456789abcdef", max_size=65),
        ),
        st.builds(
            lambda value: encode(fields | {"after": value}), st.none() | st.floats() | st.text()
        ),
        st.builds(lambda name: encode(fields | {"question": name}), st.text(max_size=20)),
        st.builds(
            lambda letter: cursor[:index] + letter + cursor[index + 1 :],
            st.characters(codec="utf-8"),  # a URL cannot contain surrogates
        ),
        st.builds(
            lambda letters: cursor[:index] + letters + cursor[index:],
            st.text(min_size=1, max_size=5),
        ),
        st.just(cursor[:index]),
        st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", max_size=600),
        st.builds(lambda raw: base64.urlsafe_b64encode(raw).decode(), st.binary(max_size=400)),
        st.text(max_size=600),
    )
    return draw(strategy)


def after_of(fields: Json) -> int:
    """Return the number after which the page begins; the list of certificates has none."""
    return fields["after"] if isinstance(fields["after"], int) else 0


def decode(cursor: str) -> Json:
    fields: Json = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    return fields


def encode(fields: Json) -> str:
    return (
        base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode())
        .decode()
        .rstrip("=")
    )


@settings(max_examples=250)
@given(data=st.data())
async def test_altered_cursors_are_refused_or_give_a_part_of_the_list(
    whole_api: Api, paged_lists: list[PagedList], data: st.DataObject
) -> None:
    await check_altered_cursor(whole_api, paged_lists, data)


@pytest.mark.long
@pytest.mark.timeout(600)
@settings(max_examples=10_000)
@given(data=st.data())
async def test_altered_cursors_are_refused_or_give_a_part_of_the_list_in_long_runs(
    whole_api: Api, paged_lists: list[PagedList], data: st.DataObject
) -> None:
    await check_altered_cursor(whole_api, paged_lists, data)
