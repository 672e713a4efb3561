"""The OpenAPI document: it is valid and complete, and the service responds as it says."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import schemathesis
from jsonschema_rs import meta

import explorer_api
from explorer_api.docs.problem_kinds import PROBLEM_KINDS
from explorer_api.routes import ROUTES
from tests.explorer_api.examples import DOCUMENT, ENDING_ROUTES, check, example, resolved
from tests.explorer_api.support import Api


async def test_the_document_is_served_and_valid(recorded_api: Api) -> None:
    served = (await recorded_api.get("/openapi.json")).json
    assert served == DOCUMENT
    assert served["info"]["version"] == "1.2.3"
    schemathesis.openapi.from_dict(served).validate()
    for schema in served["components"]["schemas"].values():
        meta.validate(schema | {"$schema": "https://json-schema.org/draft/2020-12/schema"})
    for target in set(references(served)):
        assert resolved(target), target


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def test_every_route_and_type_is_described() -> None:
    assert list(DOCUMENT["paths"]) == [route.path for route in ROUTES]
    operations = [methods["get"] for methods in DOCUMENT["paths"].values()]
    assert len({operation["operationId"] for operation in operations}) == len(ROUTES)
    for operation in operations:
        assert operation["summary"], operation["operationId"]
        assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    assert "." not in "".join(DOCUMENT["components"]["schemas"]), "two types of one name"
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert schema.get("description"), name


def test_every_problem_that_the_code_raises_is_explained() -> None:
    raised: dict[str, set[int]] = {}
    for module in Path(explorer_api.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                for status, name in named_problem(node):
                    raised.setdefault(name, set()).add(status)
    explained = {name: {kind.status} for name, kind in PROBLEM_KINDS.items()}
    del explained["http-error"]  # aiohttp raises these problems, with several statuses
    assert raised == explained


def named_problem(call: ast.Call) -> Iterator[tuple[int, str]]:
    """Yield the status and name of a problem that a call creates.

    It is a call of `ProblemError(404, "name", …)`, of its `__init__`, or of
    `unavailable("name", …)`.
    """
    constants = [
        argument.value if isinstance(argument, ast.Constant) else None for argument in call.args
    ]
    match ast.unparse(call.func), constants:
        case (("ProblemError" | "super().__init__"), [int(status), str(name), _, _, _]):
            yield status, name
        case "unavailable", [str(name), *_]:
            yield 503, name


async def test_the_response_to_every_example_is_as_documented(
    whole_api: Api, a_transaction: str
) -> None:
    for route in ENDING_ROUTES:
        url = example(route, a_transaction)
        response = await whole_api.request("GET", url)
        assert response.status in route.statuses, url
        check(route, response)
        head = await whole_api.request("HEAD", url)
        assert (head.status, head.body) == (response.status, b""), url
        etag = response.headers.get("ETag")
        if etag is not None:
            check(route, await whole_api.get(url, 304, {"If-None-Match": etag}))
        unknown = await whole_api.problem(
            f"{url}{'&' if '?' in url else '?'}nonsense=1", 400, "unknown-parameter"
        )
        check(route, unknown)
