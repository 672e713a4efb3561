"""Describes the API in OpenAPI 3.1, from the route table that also serves it."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

from explorer_api.docs import route_docs
from explorer_api.docs.json_schemas import REFERENCE, Json, json_schemas
from explorer_api.docs.path_variables import PATH_VARIABLES, PathVariable
from explorer_api.http.compression import Coding
from explorer_api.http.parameters import Parameter, ParameterFamily
from explorer_api.http.problems import TYPE_PREFIX
from explorer_api.http.responses import JSON, NO_STORE
from explorer_api.resources.stream import EVENT_STREAM, LAST_EVENT_ID
from explorer_api.routing.route import AnyRoute, Route, StreamRoute

TITLE: Final = "KindLedger explorer API"

TAGS: Final = {
    "Ledger": "Blocks, transactions, events, chaincodes and keys of a channel.",
    "Statistics": "Totals over a channel's blocks, and its activity over time.",
    "Audit": "Whether the stored ledger and the business rows agree with the chain.",
    "Operations": "The status of the service, and its documentation.",
}

_HEADERS: Final[Json] = {
    "Ledger-Height": {
        "description": "The height of the ledger from which the response was made.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "Ledger-Peer-Height": {
        "description": "The height that a peer is known to have.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-Request-ID": {
        "description": "The X-Request-ID of the request if that has 1 to 64 characters "
        "A-Z a-z 0-9 . _ -, else a new one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "ETag": {
        "description": "A validator, to be sent as If-None-Match: weak if the body is compressed, "
        "else strong.",
        "required": True,
        "schema": {"type": "string", "pattern": '^(W/)?"[^"]+"$'},
    },
    "Content-Encoding": {
        "description": "The compression of the body, if Accept-Encoding asks for one.",
        "schema": {"type": "string", "enum": list(Coding)},
    },
    "Vary": {
        "description": "The request headers on which the response depends.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds to wait before the request is repeated.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {
        "description": "The authentication scheme that is required.",
        "required": True,
        "schema": {"type": "string"},
    },
}
_IF_NONE_MATCH: Final[Json] = {
    "name": "If-None-Match",
    "in": "header",
    "description": "ETags of responses that the client has. If the response is one of them, its "
    "status is 304.",
    "schema": {"type": "string"},
}
_LAST_EVENT_ID: Final[Json] = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The id of the last message that the client received: the stream continues "
    "after it.",
    "schema": LAST_EVENT_ID.schema,
}
_PROBLEM: Final[Json] = {
    "title": "Problem",
    "description": "A problem as defined in RFC 9457. Some kinds have further members.",
    "type": "object",
    "properties": {
        "type": {"description": "The kind of problem.", "type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"description": "The status of the response.", "type": "integer"},
        "detail": {"description": "What happened.", "type": "string"},
        "hint": {"description": "What to do about it.", "type": "string"},
        "requestId": {
            "description": "The id of the request in the log of the service.",
            "type": "string",
        },
        "parameter": {"description": "The name of the wrong parameter.", "type": "string"},
        "allowed": {"description": "The allowed values of the parameter.", "type": "string"},
    },
    "required": ["type", "title", "status", "detail", "hint", "requestId"],
}


def openapi_document(routes: Sequence[AnyRoute], version: str) -> Json:
    """Return the OpenAPI document.

    Raises `KeyError` when a path variable or a problem of a route is not described.
    """
    bodies, components = json_schemas(route_docs.body_types(routes))
    return {
        "openapi": "3.1.1",
        "info": {
            "title": TITLE,
            "version": version,
            "summary": "Read-only: blocks, transactions and events of Hyperledger Fabric channels.",
            "description": "HEAD is allowed wherever GET is. /docs explains paging, filters, "
            "caching, problems and streams.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": {route.path: {"get": _operation(route, bodies)} for route in routes},
        "components": {
            "schemas": dict(sorted({**components, "Problem": _PROBLEM}.items())),
            "parameters": {
                **{
                    name: _path_parameter(name, variable)
                    for name, variable in PATH_VARIABLES.items()
                },
                "If-None-Match": _IF_NONE_MATCH,
                "Last-Event-ID": _LAST_EVENT_ID,
            },
            "headers": _HEADERS,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Only if the operator requires a token.",
                }
            },
        },
    }


def _operation(route: AnyRoute, bodies: dict[Any, Json]) -> Json:
    summary, details = route_docs.explanation(route)
    parameters: list[Json] = [
        {"$ref": f"#/components/parameters/{name}"} for name in route_docs.path_variables(route)
    ]
    parameters += [
        _query_parameter(parameter, name)
        for parameter in route.parameters
        for name in parameter.names
    ]
    parameters += map(_parameter_family, route.families)
    if route_docs.has_etag(route):
        parameters.append({"$ref": "#/components/parameters/If-None-Match"})
    if isinstance(route, StreamRoute):
        parameters.append({"$ref": "#/components/parameters/Last-Event-ID"})
    return {
        "operationId": route_docs.operation_id(route),
        "summary": summary,
        **({"description": details} if details else {}),
        "tags": [route.tag],
        "parameters": parameters,
        "responses": _responses(route, bodies),
        "security": [{}, {"token": []}] if route_docs.needs_token(route) else [],
    }


def _path_parameter(name: str, variable: PathVariable) -> Json:
    example = {} if variable.example.startswith("$") else {"example": unquote(variable.example)}
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": variable.allowed,
        "schema": variable.schema,
        **example,
    }


def _query_parameter(parameter: Parameter[Any], name: str) -> Json:
    is_alias = name != parameter.name
    default = {} if parameter.default is None else {"default": parameter.default}
    is_array = parameter.schema.get("type") == "array"
    return {
        "name": name,
        "in": "query",
        "required": parameter.required,
        "description": f"The same as `{parameter.name}`." if is_alias else parameter.allowed,
        **({"style": "form", "explode": False} if is_array else {}),
        "schema": {**parameter.schema, **({} if is_alias else default)},
    }


def _parameter_family(family: ParameterFamily) -> Json:
    """Return the family as an object; each property of it is sent as a separate parameter."""
    return {
        "name": family.prefix.rstrip("."),
        "in": "query",
        "description": f"Any `{family.prefix}…`: {family.allowed}.",
        "style": "form",
        "explode": True,
        "schema": {
            "type": "object",
            "patternProperties": {
                f"^{re.escape(family.prefix)}.": {"type": "string", "maxLength": family.max_bytes}
            },
            "additionalProperties": False,
        },
    }


def _responses(route: AnyRoute, bodies: dict[Any, Json]) -> Json:
    responses = {
        str(status): _response(route, bodies[route.body_type], route.content_type)
        for status in route.statuses
    }
    responses |= {
        str(status): _response(route, bodies[body], JSON)
        for status, body in route.other_body_types.items()
    }
    if route_docs.has_etag(route):
        responses["304"] = {
            "description": "The client already has this response.",
            "headers": _response_headers(route),
        }
    for status, kinds in route_docs.problems(route).items():
        problem = _problem(status, kinds)
        response = responses.get(str(status))
        if response is None:
            responses[str(status)] = problem
        else:
            response["description"] += " Or: " + problem["description"]
            response["content"] |= problem["content"]
            response["headers"] = {"X-Request-ID": _header("X-Request-ID")}
    return dict(sorted(responses.items()))


def _response(route: AnyRoute, schema: Json, content_type: str) -> Json:
    if content_type == EVENT_STREAM:
        schema = {"type": "string", "contentMediaType": content_type, "contentSchema": schema}
    content = {"schema": schema} if route.body_type is not bytes else {}
    return {
        "description": "The response.",
        "headers": _response_headers(route),
        "content": {content_type: content},
    }


def _response_headers(route: AnyRoute) -> Json:
    names = ["X-Request-ID"]
    if not isinstance(route, Route):
        names += ["Ledger-Height", "Ledger-Peer-Height"]
    if route_docs.has_etag(route):
        names.append("ETag")
    if not isinstance(route, StreamRoute):
        names += ["Vary", "Content-Encoding"]
    return {name: _header(name) for name in names} | {
        "Cache-Control": _caching(*route.cache_controls)
    }


def _caching(*values: str) -> Json:
    return {"required": True, "schema": {"type": "string", "enum": list(values)}}


def _header(name: str) -> Json:
    return {"$ref": f"#/components/headers/{name}"}


def _problem(status: int, kinds: list[str]) -> Json:
    names = ["X-Request-ID"]
    names += ["Retry-After"] if status in (429, 503) else []
    names += ["WWW-Authenticate"] if status == HTTPStatus.UNAUTHORIZED else []
    return {
        "description": ", ".join(kinds),
        "headers": {name: _header(name) for name in names} | {"Cache-Control": _caching(NO_STORE)},
        "content": {
            "application/problem+json": {
                "schema": {
                    "allOf": [
                        {"$ref": f"{REFERENCE}Problem"},
                        {
                            "properties": {
                                "type": {"enum": [TYPE_PREFIX + kind for kind in kinds]},
                                "status": {"const": status},
                            }
                        },
                    ]
                }
            }
        },
    }
