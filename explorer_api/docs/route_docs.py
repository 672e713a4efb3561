"""What follows from a route: what it is called, what it takes, and what can go wrong with it."""

import inspect
import re

from explorer_api.docs.json_schemas import prose
from explorer_api.docs.path_variables import PATH_VARIABLES, PathVariable
from explorer_api.docs.problem_kinds import PROBLEM_KINDS
from explorer_api.http.access import OPEN_PATHS
from explorer_api.http.parameters import CURSOR
from explorer_api.http.responses import NO_STORE
from explorer_api.routing.route import AnyRoute, Route

_VARIABLE = re.compile(r"{(\w+)}")


def explanation(route: AnyRoute) -> tuple[str, str]:
    """The first sentence of the handler's docstring without its full stop, and the rest."""
    summary, _, rest = re.sub(
        r"(?<=\.)\s+", "\0", prose(inspect.getdoc(route.handler) or ""), count=1
    ).partition("\0")
    return summary.removesuffix("."), rest


def operation_id(route: AnyRoute) -> str:
    """The handler's name, as clients that are generated call it."""
    first, *others = route.handler.__name__.split("_")
    return first + "".join(map(str.title, others))


def variables(route: AnyRoute) -> dict[str, PathVariable]:
    """The variables of the route's path, in order. Raises `KeyError` for one that is not described."""
    return {name: PATH_VARIABLES[name] for name in _VARIABLE.findall(route.path)}


def example_url(route: AnyRoute) -> str:
    """Path and query of the route's example, which the demo's ledger answers; `$TX` stands for any transaction id."""
    return _VARIABLE.sub(lambda match: PATH_VARIABLES[match[1]].example, route.example)


def has_etag(route: AnyRoute) -> bool:
    """Whether an answer can be kept, and be asked for again with `If-None-Match`."""
    return set(route.cache_controls) != {NO_STORE}


def needs_token(route: AnyRoute) -> bool:
    """Whether a client may have to say who it is, and may be told to wait."""
    return route.path not in OPEN_PATHS


def problems(route: AnyRoute) -> dict[int, list[str]]:
    """The kinds of problems that the route's answers can be, by status."""
    kinds = [
        "unknown-parameter",
        "malformed-query",
        "http-error",
        "internal-error",
        "timed-out",
        *route.problems,
    ]
    kinds += [kind for variable in variables(route).values() for kind in variable.problems]
    if route.parameters:
        kinds += ["invalid-parameter", "repeated-parameter"]
    if CURSOR in route.parameters:
        kinds.append("invalid-cursor")
    if needs_token(route):
        kinds += ["unauthorized", "too-many-requests"]
    if not isinstance(route, Route) or route.asks_database:
        kinds += ["database-unavailable", "database-refused", "not-ready"]
    by_status: dict[int, list[str]] = {}
    for kind in PROBLEM_KINDS:
        if kind in kinds:
            by_status.setdefault(PROBLEM_KINDS[kind].status, []).append(kind)
    unexplained = set(kinds) - PROBLEM_KINDS.keys()
    if unexplained:
        raise KeyError(*unexplained)
    return dict(sorted(by_status.items()))
