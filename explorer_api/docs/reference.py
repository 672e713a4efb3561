"""The documentation for readers: what holds for all routes, then each route, then the types of the answers."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from explorer_api.docs import route_docs
from explorer_api.docs.content import Block, Code, Paragraph, Section, Table, slug
from explorer_api.docs.guide import DEMO, guide
from explorer_api.docs.json_schemas import REFERENCE, Json, schemas
from explorer_api.docs.openapi import TAGS, TITLE
from explorer_api.http.parameters import Parameter
from explorer_api.routing.route import AnyRoute

_ANY_TRANSACTION = (
    f"TX=$(curl -s '{DEMO}/api/v1/channels/kindledger/events?limit=1' | "
    'python3 -c \'import json, sys; print(json.load(sys.stdin)["items"][0]["txId"])\')\n'
)


def reference(routes: Sequence[AnyRoute]) -> Section:
    """The whole documentation."""
    bodies, components = schemas(
        body for route in routes for body in (route.body_type, *route.other_body_types.values())
    )
    having = Counter(
        kind for route in routes for kinds in route_docs.problems(route).values() for kind in kinds
    )
    common = [kind for kind, count in having.items() if 3 * count > len(routes)]
    groups = [
        Section(
            f"{tag} routes",
            [Paragraph(about)],
            [
                _route(route, bodies, common)
                for route in sorted(routes, key=lambda route: route.path)
                if route.tag == tag
            ],
        )
        for tag, about in TAGS.items()
    ]
    types = Section(
        "Types",
        [Paragraph("What answers are made of. Every field is always there.")],
        [_type(name, schema) for name, schema in sorted(components.items())],
    )
    return Section(
        TITLE,
        [
            Paragraph(
                "Blocks, transactions and events of Hyperledger Fabric channels, read-only, over HTTP."
            )
        ],
        [*guide(common), *groups, types],
    )


def _route(route: AnyRoute, bodies: Mapping[object, Json], common: Sequence[str]) -> Section:
    summary, details = route_docs.explanation(route)
    blocks: list[Block] = [Paragraph(f"{summary}.")]
    blocks += [Paragraph(paragraph) for paragraph in details.split("\n\n") if details]
    parameters = list(_parameters(route))
    if parameters:
        blocks.append(Table(["parameter", "takes", "unless given"], parameters))
    blocks += [_answers(route, bodies), _problems(route, common), _example(route)]
    return Section(f"GET `{route.path}`", blocks)


def _parameters(route: AnyRoute) -> Iterator[tuple[str, str, str]]:
    for name, variable in route_docs.variables(route).items():
        yield f"`{name}` in the path", variable.allowed, ""
    for parameter in route.parameters:
        yield (
            f"`{parameter.name}`",
            parameter.allowed,
            f"`{parameter.default}`" if parameter.default is not None else "",
        )
    for family in route.families:
        yield f"`{family.prefix}…`", family.allowed, ""


def _unless_given(parameter: Parameter[Any]) -> str:
    if parameter.default is not None:
        return f"`{parameter.default}`"
    return "must be given" if parameter.required else ""


def _answers(route: AnyRoute, bodies: Mapping[object, Json]) -> Paragraph:
    statuses = ", ".join(f"`{status}`" for status in route.statuses)
    text = f"Answers {statuses} with {_body(route, bodies)}"
    text += "".join(
        f"; `{status}` with {_words(bodies[body])}"
        for status, body in route.other_body_types.items()
    )
    caching = " or ".join(f"`{value}`" for value in route.cache_controls)
    return Paragraph(
        f"{text}. [Caching](#caching): {caching}{', with an ETag' if route_docs.has_etag(route) else ''}."
    )


def _body(route: AnyRoute, bodies: Mapping[object, Json]) -> str:
    if route.content_type == "application/json":
        return _words(bodies[route.body_type])
    content_type = f"`{route.content_type}`"
    if route.body_type in (str, bytes):
        return content_type
    return f"{content_type}, of which each message's data is {_words(bodies[route.body_type])}"


def _problems(route: AnyRoute, common: Sequence[str]) -> Paragraph:
    own = {
        status: ", ".join(f"`{kind}`" for kind in kinds if kind not in common)
        for status, kinds in route_docs.problems(route).items()
    }
    text = "; ".join(f"{status} {kinds}" for status, kinds in own.items() if kinds)
    return Paragraph(f"[Problems](#problems): {text or 'only such as most routes have'}.")


def _example(route: AnyRoute) -> Code:
    url = f"{DEMO}{route_docs.example_url(route)}"
    if "$TX" in url:
        return Code("sh", f'{_ANY_TRANSACTION}curl "{url}"')
    return Code(
        "sh",
        f"curl {'-N --max-time 5 ' if route.content_type == 'text/event-stream' else ''}'{url}'",
    )


def _type(name: str, schema: Json) -> Section:
    blocks: list[Block] = [
        Paragraph(paragraph)
        for paragraph in schema.get("description", "").split("\n\n")
        if paragraph
    ]
    if "properties" in schema:
        rows = [[f"`{field}`", _words(shape)] for field, shape in schema["properties"].items()]
        blocks.append(Table(["field", "type"], rows))
    else:
        blocks.append(Paragraph(f"One of {_words(schema)}."))
    return Section(f"`{name}`", blocks)


def _words(schema: Json) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REFERENCE)
        return f"[`{name}`](#{slug(name)})"
    if "anyOf" in schema:
        return " or ".join(_words(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    kind: str = schema.get("type", "any JSON")
    if kind == "array" and "items" in schema:
        words = _words(schema["items"])
        return f"list of ({words})" if " or " in words else f"list of {words}"
    return "time" if schema.get("format") == "date-time" else _KINDS.get(kind, kind)


_KINDS = {"string": "text", "array": "list of any JSON"}
