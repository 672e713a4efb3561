"""Requests with wrong parameters: each is answered with a 4xx that says what is allowed."""

import asyncio
from collections.abc import Iterator
from itertools import permutations, product
from typing import Any
from urllib.parse import quote

from explorer_api.http.parameters import CURSOR, Parameter
from explorer_api.routes import ROUTES
from explorer_api.routing.route import AnyRoute
from tests.explorer_api.examples import check_refused, path, request_checked
from tests.explorer_api.support import Api, Json

HOSTILE_VALUES = [
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


def wrong_values(parameter: Parameter[Any]) -> Iterator[str]:
    """Yield values that the schema of the parameter does not allow."""
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


async def test_every_parameter_refuses_values_that_are_not_allowed(
    whole_api: Api, a_transaction: str
) -> None:
    for route in ROUTES:
        for parameter in route.parameters:
            for name, value in product(parameter.names, wrong_values(parameter)):
                url = f"{path(route, a_transaction)}?{name}={quote(value, safe='')}"
                problem = await request_checked(whole_api, route, url)
                assert problem.status == 400, url
                assert problem.json["parameter"] == name
                assert parameter is CURSOR or problem.json["allowed"] == parameter.allowed


async def test_unknown_and_repeated_parameters_are_refused(recorded_api: Api) -> None:
    for route in ROUTES:
        names = [name for parameter in route.parameters for name in parameter.names]
        names += [f"{family.prefix}a" for family in route.families]
        for query, kind, parameter in wrong_queries(route, names):
            await check_refused(recorded_api, route, f"{path(route, 'a')}?{query}", kind, parameter)


def wrong_queries(route: AnyRoute, names: list[str]) -> Iterator[tuple[str, str, str | None]]:
    """Yield queries with wrong names, the kind of problem, and the parameter that it names."""
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
    for unknown in (
        *(f"{name}[$ne]" for name in names[:1]),
        *(name.upper() for name in names[:1]),
        "",
        "$where",
        "é\0",
    ):
        yield f"{quote(unknown, safe='')}=1", "unknown-parameter", unknown
    yield "%FF=1", "malformed-query", None
    yield "&".join(f"a{i}=1" for i in range(51)), "malformed-query", None


def some_value(route: AnyRoute, name: str) -> str:
    """Return an allowed value of the parameter."""
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


async def test_hostile_values_are_only_compared(whole_api: Api, a_transaction: str) -> None:
    for route in ROUTES:
        names = [parameter.name for parameter in route.parameters]
        names += [f"{family.prefix}campaignId" for family in route.families]
        for name in names:
            base = f"{path(route, a_transaction)}?{name}="
            urls = [f"{base}{quote(value, safe='')}" for value in HOSTILE_VALUES]
            for response in await asyncio.gather(
                *(request_checked(whole_api, route, url) for url in urls)
            ):
                assert response.status in (200, 400), response.body
                if response.status == 400 and response.body:
                    assert response.json["parameter"] == name
