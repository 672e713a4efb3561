"""Requests made from the route table, and checks of their responses, for tests of every route."""

from functools import cache
from typing import Any

from jsonschema_rs import Draft202012Validator

from explorer_api.docs.openapi import openapi_document
from explorer_api.docs.path_variables import PATH_VARIABLES
from explorer_api.docs.route_docs import example_url
from explorer_api.routes import ROUTES
from explorer_api.routing.route import AnyRoute, StreamRoute
from tests.explorer_api.support import Api, Json, Response

DOCUMENT = openapi_document(ROUTES, "1.2.3")
FINGERPRINT = "006fd954d42ca4e546c84aa6266bea130a23d832f4ee20f15ab9c58129c3dd84"
"""A certificate that signed transactions of the recorded ledger."""
ENDING_ROUTES = [route for route in ROUTES if not isinstance(route, StreamRoute)]
"""The routes whose responses end, unlike streams."""


def example(route: AnyRoute, tx_id: str) -> str:
    """Return the example of the route, with the id of a transaction on the ledger."""
    url = example_url(route).replace(PATH_VARIABLES["txId"].example, tx_id)
    return url.replace(PATH_VARIABLES["fingerprint"].example, FINGERPRINT)


def path(route: AnyRoute, tx_id: str, **variables: str) -> str:
    """Return the path of the route; `variables` are percent-encoded and replace the examples."""
    values = (
        {name: variable.example for name, variable in PATH_VARIABLES.items()}
        | {"txId": tx_id, "fingerprint": FINGERPRINT}
        | variables
    )
    return route.path.format_map(values)


def check(route: AnyRoute, response: Response) -> None:
    """Check that the response has the status, headers and body of the OpenAPI document."""
    documented = DOCUMENT["paths"][route.path]["get"]["responses"][str(response.status)]
    for name in documented["headers"]:
        header, validator = _header(route.path, response.status, name)
        value = response.headers.get(name)
        if value is None:
            assert not header.get("required"), f"{route.path}: no {name}"
        else:
            _valid(validator, int(value) if header["schema"]["type"] == "integer" else value)
    if response.status != 304:
        content_type = response.headers["Content-Type"]
        assert content_type in documented["content"], f"{route.path}: {content_type}"
        if content_type.endswith("json"):
            _valid(_body(route.path, response.status, content_type), response.json)


def resolved(target: str) -> Any:
    """Return the object in the document that a reference names."""
    node: Any = DOCUMENT
    for name in target.removeprefix("#/").split("/"):
        node = node[name]
    return node


@cache
def _header(path: str, status: int, name: str) -> tuple[Json, Draft202012Validator]:
    written = DOCUMENT["paths"][path]["get"]["responses"][str(status)]["headers"][name]
    header = resolved(written["$ref"]) if "$ref" in written else written
    return header, _validator(header["schema"])


@cache
def _body(path: str, status: int, content_type: str) -> Draft202012Validator:
    return _validator(
        DOCUMENT["paths"][path]["get"]["responses"][str(status)]["content"][content_type]["schema"]
    )


def _validator(schema: Json) -> Draft202012Validator:
    return Draft202012Validator(
        {**schema, "components": DOCUMENT["components"]}, validate_formats=True
    )


def _valid(validator: Draft202012Validator, value: Any) -> None:
    errors = [
        f"{list(error.instance_path)}: {error.message}"[:300]
        for error in validator.iter_errors(value)
    ]
    assert not errors, errors


async def request_checked(api: Api, route: AnyRoute, url: str) -> Response:
    """Return the response, checked against the OpenAPI document; for a stream only the headers."""
    if isinstance(route, StreamRoute) and (await api.request("HEAD", url)).status == 200:
        return await api.request("HEAD", url)
    response = await api.request("GET", url)
    refused_early = response.status in (400, 404) and response.json["type"].endswith(
        ("http-error", "route-not-found")
    )
    if not refused_early:
        check(route, response)
    return response


async def check_refused(
    api: Api, route: AnyRoute, url: str, kind: str, parameter: str | None
) -> None:
    """Check that the request is answered with that kind of problem, about that parameter."""
    problem = await request_checked(api, route, url)
    assert (problem.status, problem.json["type"].rpartition(":")[2]) == (400, kind), (
        url,
        problem.body,
    )
    assert problem.json.get("parameter") == parameter
