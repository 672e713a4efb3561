"""Typed query parameters: each route names those that it takes, anything else is a 400 that says what is allowed."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec
from bson.datetime_ms import DatetimeMS

from explorer_api.problems import ProblemError, filter_not_indexed, invalid_parameter, quoted
from ledger.blocks import MAX_BLOCK_NUMBER

T = TypeVar("T")

MAX_LIMIT = 500
DEFAULT_LIMIT = 50
MAX_NAMES = 20
_MAX_PARAMETERS = 50
_INTEGER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Parameter(Generic[T]):
    """A query parameter. `parse` raises `ValueError` for what is not `allowed`."""

    name: str
    allowed: str
    parse: Callable[[str], T]
    default: T | None = None


@dataclass(frozen=True)
class UnindexedFilter:
    """A filter that is known but not served: no index answers it. A name that ends in `.` stands for all such."""

    name: str

    def matches(self, name: str) -> bool:
        """Whether a request's parameter is this filter."""
        return name.startswith(self.name) if self.name.endswith(".") else name == self.name


class Query:
    """The parameters of one request, parsed."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def get(self, parameter: Parameter[T]) -> T | None:
        """The parameter's value, else its default."""
        return cast("T | None", self._values.get(parameter.name, parameter.default))

    def require(self, parameter: Parameter[T]) -> T:
        """The value of a parameter that has a default."""
        value = self.get(parameter)
        assert value is not None  # noqa: S101 - the route table gives it a default
        return value


def read_query(raw: str, parameters: Sequence[Parameter[Any]], unindexed: Sequence[UnindexedFilter]) -> Query:
    """Parses a raw query string strictly. Raises `ProblemError` that names the parameter and what is allowed."""
    known = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Any] = {}
    for name, text in _pairs(raw):
        parameter = known.get(name)
        if parameter is None:
            raise _refused(name, known, unindexed)
        if name in values:
            raise ProblemError(
                400,
                "repeated-parameter",
                "Repeated parameter",
                f"{name} is given more than once.",
                f"Give {name} once: {parameter.allowed}.",
                parameter=name,
                allowed=parameter.allowed,
            )
        try:
            values[name] = parameter.parse(text)
        except ValueError:
            raise invalid_parameter(name, text, parameter.allowed) from None
    return Query(values)


def _pairs(raw: str) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(raw, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
        "".join(name + text for name, text in pairs).encode()
    except ValueError:  # what is not UTF-8 raises a kind of it too
        raise ProblemError(
            400,
            "malformed-query",
            "Malformed query",
            "The query string is not UTF-8, percent-encoded, or has too many parameters.",
            f"Percent-encode every value; at most {_MAX_PARAMETERS} parameters.",
        ) from None
    return pairs


def _refused(name: str, known: dict[str, Parameter[Any]], unindexed: Sequence[UnindexedFilter]) -> ProblemError:
    allowed = f"one of {', '.join(known)}" if known else "no parameter"
    if any(candidate.matches(name) for candidate in unindexed):
        return filter_not_indexed(
            name, f"No index answers the filter {quoted(name)}.", f"Leave it out; this route takes {allowed}."
        )
    return ProblemError(
        400,
        "unknown-parameter",
        "Unknown parameter",
        f"This route has no parameter {quoted(name)}.",
        f"This route takes {allowed}.",
        parameter=name[:100],
        allowed=allowed,
    )


def integer(name: str, low: int, high: int, default: int | None = None) -> Parameter[int]:
    """A decimal integer within bounds."""

    def parse(text: str) -> int:
        if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
            raise ValueError
        return int(text)

    return Parameter(name, f"an integer from {low} to {high}", parse, default)


def choice(name: str, *values: str, default: str | None = None) -> Parameter[str]:
    """One of a few words."""

    def parse(text: str) -> str:
        if text not in values:
            raise ValueError
        return text

    return Parameter(name, " or ".join(values), parse, default)


def text(name: str, allowed: str, max_bytes: int) -> Parameter[str]:
    """Any text of so many bytes in UTF-8."""

    def parse(value: str) -> str:
        if len(value.encode()) > max_bytes:
            raise ValueError
        return value

    return Parameter(name, f"{allowed}, at most {max_bytes} bytes", parse)


def names(name: str, single: str) -> Parameter[tuple[str, ...]]:
    """A few names, separated by commas. `single` is the parameter for a name that contains one."""

    def parse(text: str) -> tuple[str, ...]:
        values = tuple(text.split(","))
        if len(values) > MAX_NAMES or "" in values or len(set(values)) != len(values):
            raise ValueError
        return values

    allowed = f"1 to {MAX_NAMES} different names, separated by commas ({single} takes a name that contains one)"
    return Parameter(name, allowed, parse)


def time(name: str) -> Parameter[DatetimeMS]:
    """A point in time; between two milliseconds the later, since stored times are rounded down."""

    def parse(text: str) -> DatetimeMS:
        try:
            value = msgspec.convert(text, datetime)
        except msgspec.ValidationError:
            raise ValueError from None
        if value.tzinfo is None:
            raise ValueError
        return DatetimeMS(-((_EPOCH - value) // _MILLISECOND))

    return Parameter(name, "a time as in RFC 3339, such as 2026-01-31T17:00:00Z (percent-encode a +)", parse)


LIMIT = integer("limit", 1, MAX_LIMIT, DEFAULT_LIMIT)
CURSOR = text("cursor", "page.next of the answer before", 512)
ORDER = choice("order", "desc", "asc", default="desc")


def block_number(name: str) -> Parameter[int]:
    """A bound for block numbers."""
    return integer(name, 0, MAX_BLOCK_NUMBER)
