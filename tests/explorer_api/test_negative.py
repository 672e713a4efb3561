"""Requests that are wrong in every way that the route table allows for: 4xx that says what is allowed, never 5xx."""

import asyncio
import base64
import json
from collections.abc import Iterator
from itertools import permutations, product
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from explorer_api.docs.route_docs import path_variables
from explorer_api.http.parameters import CURSOR, ORDER, Parameter
from explorer_api.routes import ROUTES
from explorer_api.routing.route import AnyRoute, StreamRoute
from tests.explorer_api.examples import check, path
from tests.explorer_api.support import Api, Json, Response


async def ask(api: Api, route: AnyRoute, url: str) -> Response:
    """The answer, checked against the OpenAPI document; of a stream its headers only, since that does not end."""
    if isinstance(route, StreamRoute) and (await api.request("HEAD", url)).status == 200:
        return await api.request("HEAD", url)
    response = await api.request("GET", url)
    refused_early = response.status in (400, 404) and response.json["type"].endswith(
        ("http-error", "route-not-found")
    )
    if not refused_early:
        check(route, response)
    return response


# --- Parameters -------------------------------------------------------------------------------------------------------

HOSTILE = [
    *(
        "",
        " ",
        "\0",
        "null",
        "undefined",
        "NaN",
        "[]",
        "{}",
        '{"$gt":""}',
        "$where",
        "../..",
        "%",
        "%00",
        "'--",
        "\r\nX: y",
    ),
    *(
        "\u202e",
        "\ufeff",
        "\U0001f600",
        "e\u0301",
        "\u0663",
        "\uffff",
        "x" * 2000,
        "9" * 400,
        str(2**63),
    ),
    *("-1", "1.0", "1e2", "+1", "01", "0x1", ",", "a,,b", "a,a"),
    *(
        "2026-01-01",
        "2026-13-01T00:00:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00+25:00",
        "2026-01-01T00:00:60Z",
    ),
    *("9999-12-31T23:59:59.999999-23:59", "0001-01-01T00:00:00+23:59"),
]


def wrong(parameter: Parameter[Any]) -> Iterator[str]:
    """What the parameter's schema does not allow."""
    schema = parameter.schema
    if schema["type"] == "integer":
        yield from (
            "",
            " 1",
            "1 ",
            "1.0",
            "1e2",
            "+1",
            "01",
            "0x1",
            "null",
            "\u0663",
            "1\0",
            "9" * 400,
        )
        yield from (str(schema["minimum"] - 1), str(schema["maximum"] + 1))
    elif schema["type"] == "array":
        yield from ("", ",", "a,", ",".join(map(str, range(schema["maxItems"] + 1))))
    elif schema.get("format") == "date-time":
        yield from (
            "",
            "now",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:01Z",
        )
        yield from ("2026-01-01T00:00:00+25:00", "2026-01-01T00:00:00Z\0", "1767225600")
    elif "enum" in schema:
        first = schema["enum"][0]
        yield from ("", first.upper(), f"{first} ", f"{first}\0", f"{first},{first}", "x" * 2000)
    elif "pattern" in schema or "anyOf" in schema:
        yield from ("", "\0", "x", "é", "-1", "256.0")
    else:
        yield from (["x" * (schema["maxLength"] + 1)] if schema["maxLength"] < 50_000 else [])
        yield from ([""] if schema["minLength"] > 0 else [])


async def test_every_parameter_takes_only_what_is_allowed(
    whole_api: Api, a_transaction: str
) -> None:
    for route in ROUTES:
        for parameter in route.parameters:
            for name, value in product(parameter.names, wrong(parameter)):
                url = f"{path(route, a_transaction)}?{name}={quote(value, safe='')}"
                problem = await ask(whole_api, route, url)
                assert problem.status == 400, url
                assert problem.json["parameter"] == name
                assert parameter is CURSOR or problem.json["allowed"] == parameter.allowed


async def test_every_name_is_given_once_and_is_one_that_the_route_takes(recorded_api: Api) -> None:
    for route in ROUTES:
        names = [name for parameter in route.parameters for name in parameter.names]
        names += [f"{family.prefix}a" for family in route.families]
        for query, kind, parameter in misnamed(route, names):
            await refused(recorded_api, route, f"{path(route, 'a')}?{query}", kind, parameter)


def misnamed(route: AnyRoute, names: list[str]) -> Iterator[tuple[str, str, str | None]]:
    """Queries that are wrong whatever their values are, the kind of problem, and the parameter that it names."""
    for name in names:
        value = some_value(route, name)
        yield f"{name}={value}&{name}={value}", "repeated-parameter", name
        for raw in ("%FF", "%ED%A0%80"):
            yield f"{name}={raw}", "malformed-query", None
    for parameter in route.parameters:
        if parameter.alias is not None:
            value = some_value(route, parameter.name)
            for first, second in permutations(parameter.names):
                yield f"{first}={value}&{second}={value}", "repeated-parameter", second
    for family in route.families:
        yield f"{family.prefix}=1", "invalid-parameter", family.prefix
        yield (
            f"{family.prefix}a={'x' * (family.max_bytes + 1)}",
            "invalid-parameter",
            f"{family.prefix}a",
        )
    for strange in (
        *(f"{name}[$ne]" for name in names[:1]),
        *(name.upper() for name in names[:1]),
        "",
        "$where",
        "é\0",
    ):
        yield f"{quote(strange, safe='')}=1", "unknown-parameter", strange
    yield "%FF=1", "malformed-query", None
    yield "&".join(f"a{i}=1" for i in range(51)), "malformed-query", None


def some_value(route: AnyRoute, name: str) -> str:
    """A value that the parameter takes by itself."""
    schema: Json = next(
        (one.schema for one in route.parameters if name in one.names), {"type": "string"}
    )
    if schema["type"] == "array":
        schema = schema["items"]
    if schema.get("format") == "date-time":
        return "2026-01-01T00:00:00Z"
    if "enum" in schema or "anyOf" in schema:
        return str((schema.get("enum") or schema["anyOf"][0]["enum"])[0])
    return "1"


async def refused(api: Api, route: AnyRoute, url: str, kind: str, parameter: str | None) -> None:
    problem = await ask(api, route, url)
    assert (problem.status, problem.json["type"].rpartition(":")[2]) == (400, kind), (
        url,
        problem.body,
    )
    assert problem.json.get("parameter") == parameter


async def test_hostile_values_are_only_ever_values(whole_api: Api, a_transaction: str) -> None:
    for route in ROUTES:
        names = [parameter.name for parameter in route.parameters]
        names += [f"{family.prefix}campaignId" for family in route.families]
        for name in names:
            urls = [
                f"{path(route, a_transaction)}?{name}={quote(value, safe='')}" for value in HOSTILE
            ]
            for response in await asyncio.gather(*(ask(whole_api, route, url) for url in urls)):
                assert response.status in (200, 400), response.body
                if response.status == 400 and response.body:
                    assert response.json["parameter"] == name


# --- Paths ------------------------------------------------------------------------------------------------------------

SEGMENTS = [
    *(
        "%00",
        "%FF",
        "%ED%A0%80",
        "%C0%AF",
        ".",
        "..",
        "%2E%2E",
        "%2F",
        "a%2Fb",
        "%25",
        "%20",
        "%0D%0AX:%20y",
    ),
    *(
        "$where",
        "%7B%22$gt%22:%22%22%7D",
        "null",
        "-1",
        "1.5",
        "1e3",
        "+1",
        "00",
        "0x10",
        "%D9%A3",
        "%F0%9F%98%80",
    ),
    *("LATEST", "latest%00", "latest%20", "f" * 64, "9" * 400, str(2**43), str(2**63)),
    *("x" * 5000, "%61" * 21_000, "x" * 65_537),
]
ANY_TEXT = {"namespace", "key"}
"""A key that was never written has an empty history."""


async def test_every_path_variable_is_checked(whole_api: Api, a_transaction: str) -> None:
    for route in ROUTES:
        for name in path_variables(route):
            urls = [path(route, a_transaction, **{name: segment}) for segment in SEGMENTS]
            responses = await asyncio.gather(*(ask(whole_api, route, url) for url in urls))
            for segment, response in zip(SEGMENTS, responses, strict=True):
                if response.status == 200:
                    assert name in ANY_TEXT, (route.path, name, segment)
                    assert response.json["items"] == []
                else:
                    assert 400 <= response.status < 500, (route.path, name, segment)
                    assert response.json["hint"]


# --- Cursors ----------------------------------------------------------------------------------------------------------

PAGED = [route for route in ROUTES if CURSOR in route.parameters]


class Listing:
    """A list, all of it, and the cursors that lead through it."""

    def __init__(self, route: AnyRoute, url: str) -> None:
        self.route, self.url = route, url
        self.items: list[Json] = []
        self.cursors: list[str] = []

    async def read(self, api: Api) -> "Listing":
        """A few pages of one item, since cursors are what matters, then the rest."""
        following = ""
        while True:
            limit = 1 if len(self.cursors) < 5 else 500
            answer = (await ask(api, self.route, f"{self.url}&limit={limit}{following}")).json
            self.items += answer["items"]
            if answer["page"]["next"] is None:
                return self
            self.cursors.append(answer["page"]["next"])
            following = f"&cursor={self.cursors[-1]}"

    async def check(self, api: Api, cursor: str, limit: int) -> None:
        """The cursor gives a part of the list as it is, or is refused."""
        response = await ask(
            api, self.route, f"{self.url}&limit={limit}&cursor={quote(cursor, safe='')}"
        )
        if response.status == 400:
            assert response.json["parameter"] == "cursor"
            return
        assert response.status == 200
        answer = response.json
        items = answer["items"]
        shown = [
            item
            for item in self.items
            if "height" not in answer or block_of(item) < answer["height"]
        ]
        starts = [place for place, item in enumerate(shown) if items[:1] == [item]]
        assert not items or [shown[start : start + len(items)] for start in starts] == [items], (
            cursor
        )


def block_of(item: Json) -> int:
    return int(item["block"] if "block" in item else item["number"])


@pytest.fixture
async def listings(whole_api: Api, a_transaction: str) -> list[Listing]:
    """Every list of the API, in both orders, and by time."""
    found = []
    for route in PAGED:
        names = {parameter.name for parameter in route.parameters}
        ranges = ["", *(["ts.ge=2000-01-01T00:00:00Z"] if "ts.ge" in names else [])]
        orders = ["order=desc", "order=asc"] if ORDER.name in names else [""]
        for asked in product(orders, ranges):
            url = f"{path(route, a_transaction, block='135')}?{'&'.join(asked)}"
            found.append(await Listing(route, url).read(whole_api))
    return found


async def test_a_cursor_leads_nowhere_else(whole_api: Api, listings: list[Listing]) -> None:
    for listing in listings:
        for other in listings:
            for cursor in other.cursors[:1] if other is not listing else ():
                await refused(
                    whole_api,
                    listing.route,
                    f"{listing.url}&cursor={cursor}",
                    "invalid-cursor",
                    "cursor",
                )


async def test_a_cursor_may_be_at_any_end(whole_api: Api, listings: list[Listing]) -> None:
    for listing in listings:
        for cursor in listing.cursors[:1]:
            for name in ("after", "height"):
                for value in (0, 1, 2**53, 2**63 - 2, 2**63 - 1, 2**63, 2**64):
                    await listing.check(whole_api, written(read(cursor) | {name: value}), 500)


async def fuzz(api: Api, listings: list[Listing], data: st.DataObject) -> None:
    listing = data.draw(st.sampled_from(listings))
    text = data.draw(altered(listing.cursors) if listing.cursors else st.text(max_size=600))
    await listing.check(api, text, data.draw(st.integers(1, 500)))


numbers = st.one_of(
    st.integers(0, 200), st.integers(-2, 2**64), st.sampled_from([2**53, 2**63 - 1, 2**63, -1])
)


@st.composite
def altered(draw: st.DrawFn, cursors: list[str]) -> str:
    """A cursor that is not one that was given, or one that was."""
    cursor: str = draw(st.sampled_from(cursors))
    fields = read(cursor)
    place = draw(st.integers(0, len(cursor)))
    strategy: st.SearchStrategy[str] = st.one_of(
        st.just(cursor),
        st.builds(lambda height: written(fields | {"height": height}), numbers),
        st.builds(lambda after: written(fields | {"after": after}), numbers),
        st.builds(
            lambda change: written(fields | {"after": max(0, fields["after"] + change)}),
            st.integers(-9, 9),
        ),
        st.builds(
            lambda change: written(fields | {"after": fields["after"] + change * 2**20}),
            st.integers(-9, 9),
        ),
        st.builds(
            lambda value: written(fields | {"after": value}), st.none() | st.floats() | st.text()
        ),
        st.builds(lambda name: written(fields | {"question": name}), st.text(max_size=20)),
        st.builds(lambda letter: cursor[:place] + letter + cursor[place + 1 :], st.characters()),
        st.builds(
            lambda letters: cursor[:place] + letters + cursor[place:],
            st.text(min_size=1, max_size=5),
        ),
        st.just(cursor[:place]),
        st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", max_size=600),
        st.builds(lambda raw: base64.urlsafe_b64encode(raw).decode(), st.binary(max_size=400)),
        st.text(max_size=600),
    )
    return draw(strategy)


def read(cursor: str) -> Json:
    fields: Json = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    return fields


def written(fields: Json) -> str:
    return (
        base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode())
        .decode()
        .rstrip("=")
    )


@settings(max_examples=250)
@given(data=st.data())
async def test_an_altered_cursor_is_refused_or_leads_right(
    whole_api: Api, listings: list[Listing], data: st.DataObject
) -> None:
    await fuzz(whole_api, listings, data)


@pytest.mark.long
@pytest.mark.timeout(600)
@settings(max_examples=10_000)
@given(data=st.data())
async def test_an_altered_cursor_is_refused_or_leads_right_at_length(
    whole_api: Api, listings: list[Listing], data: st.DataObject
) -> None:
    await fuzz(whole_api, listings, data)
