"""Derives the documentation of a route from the route itself."""

import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any

from explorer_api.docs.json_schemas import prose
from explorer_api.docs.path_variables import PATH_VARIABLES, PathVariable
from explorer_api.docs.problem_kinds import PROBLEM_KINDS
from explorer_api.http.access import OPEN_PATHS
from explorer_api.http.parameters import CURSOR, Parameter
from explorer_api.http.responses import NO_STORE
from explorer_api.routing.route import AnyRoute, Route, StreamRoute

_VARIABLE = re.compile(r"{(\w+)}")


def explanation(route: AnyRoute) -> tuple[str, str]:
    """Return the first sentence of the handler's docstring without its full stop, and the rest."""
    text = prose(inspect.getdoc(route.handler) or "")
    summary, *details = re.split(r"(?<=\.)\s+", text, maxsplit=1)
    return summary.removesuffix("."), "".join(details)


def body_types(routes: Sequence[AnyRoute]) -> Iterator[Any]:
    """Yield the type of each body that the routes return, problems excepted."""
    for route in routes:
        yield from (route.body_type, *route.other_body_types.values())


def operation_id(route: AnyRoute) -> str:
    """Return the handler's name in camel case, for the names in generated clients."""
    first, *others = route.handler.__name__.split("_")
    return first + "".join(map(str.title, others))


def path_variables(route: AnyRoute) -> dict[str, PathVariable]:
    """Return the variables of the route's path, in order.

    Raises `KeyError` when a variable is not in `PATH_VARIABLES`.
    """
    return {name: PATH_VARIABLES[name] for name in _VARIABLE.findall(route.path)}


def parameter_names(parameter: Parameter[Any]) -> str:
    """Return all spellings of a parameter's name, as code."""
    return " or ".join(f"`{name}`" for name in parameter.names)


def example_url(route: AnyRoute) -> str:
    """Return the path and query of the route's example, which works on the ledger of the demo.

    `$TX` in it stands for the id of any transaction, `$CERTIFICATE` for any fingerprint.
    """
    return _VARIABLE.sub(lambda match: PATH_VARIABLES[match[1]].example, route.example)


def has_etag(route: AnyRoute) -> bool:
    """Return whether the route's responses are cacheable, and so have an ETag."""
    return set(route.cache_controls) != {NO_STORE}


def needs_token(route: AnyRoute) -> bool:
    """Return whether the operator can require a token for the route, and limit its rate."""
    return route.path not in OPEN_PATHS


def problems(route: AnyRoute) -> dict[int, list[str]]:
    """Return the kinds of problems that the route's responses can be, by status.

    Raises `KeyError` when a kind is not in `PROBLEM_KINDS`.
    """
    kinds = [
        "unknown-parameter",
        "malformed-query",
        "http-error",
        "internal-error",
        "timed-out",
        *route.problems,
    ]
    kinds += [kind for variable in path_variables(route).values() for kind in variable.problems]
    if route.parameters:
        kinds += ["invalid-parameter", "repeated-parameter"]
    if CURSOR in route.parameters:
        kinds.append("invalid-cursor")
    if needs_token(route):
        kinds += ["unauthorized", "too-many-requests"]
    if not isinstance(route, StreamRoute):
        kinds.append("encoding-not-acceptable")
    if not isinstance(route, Route) or route.asks_database:
        kinds += ["database-unavailable", "database-refused", "building-indexes", "not-ready"]
    unexplained = set(kinds) - PROBLEM_KINDS.keys()
    if unexplained:
        raise KeyError(*unexplained)
    by_status: dict[int, list[str]] = {}
    for kind in PROBLEM_KINDS:
        if kind in kinds:
            by_status.setdefault(PROBLEM_KINDS[kind].status, []).append(kind)
    return dict(sorted(by_status.items()))
