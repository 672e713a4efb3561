"""Typed query parameters: each route names those that it takes, anything else is a 400 that says what is allowed."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Generic, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec
from bson.datetime_ms import DatetimeMS

from explorer_api.http.problems import ProblemError, invalid_parameter, quoted
from ledger.position import MAX_BLOCK_NUMBER

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
    """A query parameter. `parse` raises `ValueError` for what is not `allowed`; `schema` is the same in JSON Schema.

    `alias` is another spelling of the name.
    """

    name: str
    allowed: str
    parse: Callable[[str], T]
    schema: dict[str, Any]
    default: T | None = None
    required: bool = False
    alias: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All spellings of the name."""
        return (self.name,) if self.alias is None else (self.name, self.alias)


@dataclass(frozen=True)
class ParameterFamily:
    """Parameters that share a prefix, such as `payload.`; what follows it is a name of the client's choice."""

    prefix: str
    allowed: str
    max_bytes: int

    def parse(self, name: str, value: str) -> str:
        """Raises `ValueError` for what is not `allowed`."""
        if name == self.prefix or len(value.encode()) > self.max_bytes:
            raise ValueError
        return value


class Query:
    """The parameters of one request, parsed."""

    def __init__(self, values: dict[str, Any], sent: dict[str, tuple[str, str]]) -> None:
        self._values, self._sent = values, sent

    def get(self, parameter: Parameter[T]) -> T | None:
        """The parameter's value, else its default."""
        return cast("T | None", self._values.get(parameter.name, parameter.default))

    def require(self, parameter: Parameter[T]) -> T:
        """The value of a parameter that has a default."""
        value = self.get(parameter)
        assert value is not None  # noqa: S101 - the route table gives it a default
        return value

    def sent(self, parameter: Parameter[Any]) -> str:
        """Return the text that the client sent for a parameter of this request."""
        return self._sent[parameter.name][1]

    def sent_name(self, parameter: Parameter[Any]) -> str:
        """Return the client's spelling of a parameter's name; the canonical one if it is not sent."""
        return self._sent[parameter.name][0] if parameter.name in self._sent else parameter.name

    def family(self, family: ParameterFamily) -> dict[str, str]:
        """The values of a family, by what follows the prefix."""
        start = len(family.prefix)
        return {
            name[start:]: value
            for name, value in self._values.items()
            if name.startswith(family.prefix)
        }


def read_query(
    raw: str, parameters: Sequence[Parameter[Any]], families: Sequence[ParameterFamily] = ()
) -> Query:
    """Parses a raw query string strictly. Raises `ProblemError` that names the parameter and what is allowed."""
    if not raw:
        return _NOTHING
    known = {name: parameter for parameter in parameters for name in parameter.names}
    values: dict[str, Any] = {}
    sent: dict[str, tuple[str, str]] = {}
    for name, text in _pairs(raw):
        parse, allowed = _reading(name, known, families)
        canonical_name = known[name].name if name in known else name
        if canonical_name in values:
            raise _repeated(name, sent[canonical_name][0], allowed)
        try:
            values[canonical_name] = parse(text)
        except ValueError:
            raise invalid_parameter(name, text, allowed) from None
        sent[canonical_name] = name, text
    return Query(values, sent)


def _repeated(name: str, earlier_name: str, allowed: str) -> ProblemError:
    detail = (
        f"{quoted(name)} is given more than once."
        if name == earlier_name
        else f"{quoted(earlier_name)} and {quoted(name)} are the same parameter."
    )
    return ProblemError(
        400,
        "repeated-parameter",
        "Repeated parameter",
        detail,
        f"Give it once: {allowed}.",
        parameter=name[:100],
        allowed=allowed,
    )


_NOTHING = Query({}, {})


def _reading(
    name: str, known: dict[str, Parameter[Any]], families: Sequence[ParameterFamily]
) -> tuple[Callable[[str], Any], str]:
    """How a parameter is parsed, and what is allowed."""
    parameter = known.get(name)
    if parameter is not None:
        return parameter.parse, parameter.allowed
    for family in families:
        if name.startswith(family.prefix):
            return partial(family.parse, name), family.allowed
    names = [*known, *(f"{family.prefix}…" for family in families)]
    allowed = f"one of {', '.join(names)}" if names else "no parameter"
    raise ProblemError(
        400,
        "unknown-parameter",
        "Unknown parameter",
        f"This route has no parameter {quoted(name)}.",
        f"This route takes {allowed}.",
        parameter=name[:100],
        allowed=allowed,
    )


def _pairs(raw: str) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(
            raw, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS
        )
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


def integer(name: str, low: int, high: int, default: int | None = None) -> Parameter[int]:
    """A decimal integer within bounds."""

    def parse(text: str) -> int:
        if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
            raise ValueError
        return int(text)

    schema: dict[str, Any] = {"type": "integer", "minimum": low, "maximum": high}
    return Parameter(name, f"an integer from {low} to {high}", parse, schema, default)


def choice(name: str, *values: str, default: str | None = None) -> Parameter[str]:
    """One of a few words."""

    def parse(text: str) -> str:
        if text not in values:
            raise ValueError
        return text

    schema = {"type": "string", "enum": list(values)}
    return Parameter(name, " or ".join(values), parse, schema, default)


def text(
    name: str, allowed: str, max_bytes: int, min_bytes: int = 0, *, required: bool = False
) -> Parameter[str]:
    """Any text of so many bytes in UTF-8."""

    def parse(value: str) -> str:
        if not min_bytes <= len(value.encode()) <= max_bytes:
            raise ValueError
        return value

    schema = {"type": "string", "minLength": min_bytes, "maxLength": max_bytes}
    return Parameter(
        name, f"{allowed}, {min_bytes} to {max_bytes} bytes", parse, schema, required=required
    )


def equality_filter(parameter: Parameter[T]) -> Parameter[T]:
    """Return the parameter, also accepted as `name.eq`."""
    return replace(parameter, alias=f"{parameter.name}.eq")


def several(
    name: str, parse_one: Callable[[str], T], allowed: str, item: dict[str, Any]
) -> Parameter[tuple[T, ...]]:
    """A few different values, separated by commas."""

    def parse(text: str) -> tuple[T, ...]:
        values = text.split(",")
        if len(values) > MAX_NAMES or "" in values or len(set(values)) != len(values):
            raise ValueError
        return tuple(parse_one(value) for value in values)

    schema = {
        "type": "array",
        "items": item,
        "minItems": 1,
        "maxItems": MAX_NAMES,
        "uniqueItems": True,
    }
    return Parameter(
        name,
        f"1 to {MAX_NAMES} different values, separated by commas; each {allowed}",
        parse,
        schema,
    )


def names(name: str, single: str) -> Parameter[tuple[str, ...]]:
    """A few names. `single` is the parameter for a name that contains a comma."""
    allowed = f"a name without a comma ({single} takes any)"
    return several(name, str, allowed, {"type": "string", "pattern": "^[^,]+$"})


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

    allowed = "a time as in RFC 3339, such as 2026-01-31T17:00:00Z (percent-encode a +)"
    return Parameter(name, allowed, parse, {"type": "string", "format": "date-time"})


LIMIT = integer("limit", 1, MAX_LIMIT, DEFAULT_LIMIT)
CURSOR = text("cursor", "page.next of the answer before", 512)
ORDER = choice("order", "desc", "asc", default="desc")


def block_number(name: str) -> Parameter[int]:
    """A bound for block numbers."""
    return integer(name, 0, MAX_BLOCK_NUMBER)
