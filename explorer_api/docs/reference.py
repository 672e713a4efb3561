"""The documentation for readers: the guide, the routes, and the types of their responses."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from explorer_api.docs import route_docs
from explorer_api.docs.content import Block, Code, Paragraph, Section, Table, slug
from explorer_api.docs.guide import DEMO, guide
from explorer_api.docs.json_schemas import REFERENCE, Json, json_schemas
from explorer_api.docs.openapi import TAGS, TITLE
from explorer_api.http.parameters import Parameter
from explorer_api.http.responses import JSON
from explorer_api.routing.route import AnyRoute, StreamRoute

_CHOSEN: Final = {
    "TX": ("events", "txId"),
    "CERTIFICATE": ("certificates", "fingerprint"),
}
"""The variables in examples: the list and the field from which they are chosen."""
_TYPE_NAMES: Final = {"string": "text", "array": "list of any JSON"}


def reference(routes: Sequence[AnyRoute]) -> Section:
    """Return the whole documentation of the routes."""
    bodies, components = json_schemas(route_docs.body_types(routes))
    routes_by_problem = Counter(
        kind for route in routes for kinds in route_docs.problems(route).values() for kind in kinds
    )
    common_kinds = [kind for kind, count in routes_by_problem.items() if 3 * count > len(routes)]
    groups = [
        Section(
            f"{tag} routes",
            [Paragraph(description)],
            [
                _route_section(route, bodies, common_kinds)
                for route in sorted(routes, key=lambda route: route.path)
                if route.tag == tag
            ],
        )
        for tag, description in TAGS.items()
    ]
    types = Section(
        "Types",
        [Paragraph("The types in the responses. Every field is always present.")],
        [_type_section(name, schema) for name, schema in sorted(components.items())],
    )
    introduction = Paragraph(
        "Read-only access over HTTP to blocks, transactions and events of Hyperledger Fabric "
        "channels."
    )
    return Section(TITLE, [introduction], [*guide(common_kinds), *groups, types])


def _route_section(
    route: AnyRoute, bodies: Mapping[object, Json], common_kinds: Sequence[str]
) -> Section:
    summary, details = route_docs.explanation(route)
    blocks: list[Block] = [Paragraph(f"{summary}.")]
    blocks += [Paragraph(paragraph) for paragraph in details.split("\n\n") if details]
    parameters = list(_parameter_rows(route))
    if parameters:
        blocks.append(Table(["parameter", "allowed values", "default"], parameters))
    blocks += [_responses(route, bodies), _problems(route, common_kinds), _example(route)]
    return Section(f"GET `{route.path}`", blocks)


def _parameter_rows(route: AnyRoute) -> Iterator[tuple[str, str, str]]:
    for name, variable in route_docs.path_variables(route).items():
        yield f"`{name}` in the path", variable.allowed, "required"
    for parameter in route.parameters:
        yield route_docs.parameter_names(parameter), parameter.allowed, _default(parameter)
    for family in route.families:
        yield f"`{family.prefix}…`", family.allowed, ""


def _default(parameter: Parameter[Any]) -> str:
    if parameter.default is not None:
        return f"`{parameter.default}`"
    return "required" if parameter.required else ""


def _responses(route: AnyRoute, bodies: Mapping[object, Json]) -> Paragraph:
    statuses = ", ".join(f"`{status}`" for status in route.statuses)
    text = f"Response: {statuses} with {_body(route, bodies)}"
    text += "".join(
        f"; `{status}` with {_describe_type(bodies[body])}"
        for status, body in route.other_body_types.items()
    )
    caching = " or ".join(f"`{value}`" for value in route.cache_controls)
    etag = ", with an ETag" if route_docs.has_etag(route) else ""
    return Paragraph(f"{text}. [Caching](#caching): {caching}{etag}.")


def _body(route: AnyRoute, bodies: Mapping[object, Json]) -> str:
    if route.content_type == JSON:
        return _describe_type(bodies[route.body_type])
    content_type = f"`{route.content_type}`"
    if route.body_type in (str, bytes):
        return content_type
    return f"{content_type}; the data of a message is {_describe_type(bodies[route.body_type])}"


def _problems(route: AnyRoute, common_kinds: Sequence[str]) -> Paragraph:
    own_kinds = {
        status: ", ".join(f"`{kind}`" for kind in kinds if kind not in common_kinds)
        for status, kinds in route_docs.problems(route).items()
    }
    text = "; ".join(f"{status} {kinds}" for status, kinds in own_kinds.items() if kinds)
    return Paragraph(f"[Problems](#problems): {text or 'only those of most routes'}.")


def _example(route: AnyRoute) -> Code:
    url = f"{DEMO}{route_docs.example_url(route)}"
    for variable, (name, field) in _CHOSEN.items():
        if f"${variable}" in url:
            item = f'json.load(sys.stdin)["items"][0]["{field}"]'
            choose = (
                f"{variable}=$(curl -s '{DEMO}/api/v1/channels/kindledger/{name}?limit=1' | "
                f"python3 -c 'import json, sys; print({item})')\n"
            )
            return Code("sh", f'{choose}curl "{url}"')
    options = "-N --max-time 5 " if isinstance(route, StreamRoute) else ""
    return Code("sh", f"curl {options}'{url}'")


def _type_section(name: str, schema: Json) -> Section:
    blocks: list[Block] = [
        Paragraph(paragraph)
        for paragraph in schema.get("description", "").split("\n\n")
        if paragraph
    ]
    if "properties" in schema:
        rows = [
            [f"`{field}`", _describe_type(field_schema)]
            for field, field_schema in schema["properties"].items()
        ]
        blocks.append(Table(["field", "type"], rows))
    else:
        blocks.append(Paragraph(f"One of {_describe_type(schema)}."))
    return Section(f"`{name}`", blocks)


def _describe_type(schema: Json) -> str:
    """Return a schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REFERENCE)
        return f"[`{name}`](#{slug(name)})"
    if "anyOf" in schema:
        return " or ".join(_describe_type(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    type_name: str = schema.get("type", "any JSON")
    if type_name == "array" and "items" in schema:
        words = _describe_type(schema["items"])
        return f"list of ({words})" if " or " in words else f"list of {words}"
    is_time = schema.get("format") == "date-time"
    return "time" if is_time else _TYPE_NAMES.get(type_name, type_name)
