"""Typed query parameters, parsed strictly: a wrong parameter is a problem that names it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Generic, TypeVar, cast
from urllib.parse import parse_qsl

import msgspec
from bson.datetime_ms import DatetimeMS

from explorer_api.http.problems import ProblemError, invalid_parameter, quoted
from ledger.position import MAX_BLOCK_NUMBER

T = TypeVar("T")

MAX_LIMIT: Final = 500
DEFAULT_LIMIT: Final = 50
MAX_VALUES: Final = 20
_MAX_PARAMETERS: Final = 50
_INTEGER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Parameter(Generic[T]):
    """A query parameter.

    `allowed` describes the allowed values in words, `schema` in JSON Schema; `parse` raises
    `ValueError` for other values. `alias` is another spelling of the name.
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
    """Parameters with a common prefix, such as `payload.`; clients choose the rest of the name."""

    prefix: str
    allowed: str
    max_bytes: int

    def parse(self, name: str, value: str) -> str:
        """Return the value. Raises `ValueError` if the name or the value is not allowed."""
        if name == self.prefix or len(value.encode()) > self.max_bytes:
            raise ValueError
        return value


class Query:
    """The parameters of one request, parsed.

    `values` has the parsed values, and `sent` the spelling of the name and the text that the client
    sent, each by the canonical name.
    """

    def __init__(self, values: dict[str, Any], sent: dict[str, tuple[str, str]]) -> None:
        self._values, self._sent = values, sent

    def get(self, parameter: Parameter[T]) -> T | None:
        """Return the parameter's value, or its default."""
        return cast("T | None", self._values.get(parameter.name, parameter.default))

    def require(self, parameter: Parameter[T]) -> T:
        """Return the value of a parameter that has a default."""
        value = self.get(parameter)
        assert value is not None  # noqa: S101 - the route table gives it a default
        return value

    def sent(self, parameter: Parameter[Any]) -> str:
        """Return the text that the client sent for a parameter of this request."""
        return self._sent[parameter.name][1]

    def sent_name(self, parameter: Parameter[Any]) -> str:
        """Return the client's spelling of the parameter's name, else the canonical spelling."""
        return self._sent[parameter.name][0] if parameter.name in self._sent else parameter.name

    def family(self, family: ParameterFamily) -> dict[str, str]:
        """Return the values of a family by the rest of their names."""
        start = len(family.prefix)
        return {
            name[start:]: value
            for name, value in self._values.items()
            if name.startswith(family.prefix)
        }


_EMPTY_QUERY: Final = Query({}, {})


def read_query(
    raw: str, parameters: Sequence[Parameter[Any]], families: Sequence[ParameterFamily] = ()
) -> Query:
    """Return the parsed parameters of a raw query string.

    Raises `ProblemError` for a parameter that is unknown, repeated or not allowed.
    """
    if not raw:
        return _EMPTY_QUERY
    by_name = {name: parameter for parameter in parameters for name in parameter.names}
    values: dict[str, Any] = {}
    sent: dict[str, tuple[str, str]] = {}
    for name, text in _pairs(raw):
        parse, allowed = _parser(name, by_name, families)
        canonical_name = by_name[name].name if name in by_name else name
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


def _parser(
    name: str, by_name: dict[str, Parameter[Any]], families: Sequence[ParameterFamily]
) -> tuple[Callable[[str], Any], str]:
    """Return the function that parses the parameter, and the description of allowed values."""
    parameter = by_name.get(name)
    if parameter is not None:
        return parameter.parse, parameter.allowed
    for family in families:
        if name.startswith(family.prefix):
            return partial(family.parse, name), family.allowed
    names = [*by_name, *(f"{family.prefix}…" for family in families)]
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
    except ValueError:  # UnicodeError, for text that is not UTF-8, is a ValueError
        raise ProblemError(
            400,
            "malformed-query",
            "Malformed query",
            "The query string is not UTF-8, percent-encoded, or has too many parameters.",
            f"Percent-encode every value; at most {_MAX_PARAMETERS} parameters.",
        ) from None
    return pairs


def integer(name: str, low: int, high: int, default: int | None = None) -> Parameter[int]:
    """Return a parameter for a decimal integer from `low` to `high`."""

    def parse(text: str) -> int:
        if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
            raise ValueError
        return int(text)

    schema: dict[str, Any] = {"type": "integer", "minimum": low, "maximum": high}
    return Parameter(name, f"an integer from {low} to {high}", parse, schema, default)


def choice(name: str, *values: str, default: str | None = None) -> Parameter[str]:
    """Return a parameter for one of these values."""

    def parse(text: str) -> str:
        if text not in values:
            raise ValueError
        return text

    schema = {"type": "string", "enum": list(values)}
    return Parameter(name, " or ".join(values), parse, schema, default)


def text(
    name: str, allowed: str, max_bytes: int, min_bytes: int = 0, *, required: bool = False
) -> Parameter[str]:
    """Return a parameter for a text of `min_bytes` to `max_bytes` in UTF-8."""

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
    """Return a parameter for a few different values, separated by commas."""

    def parse(text: str) -> tuple[T, ...]:
        values = text.split(",")
        if len(values) > MAX_VALUES or "" in values or len(set(values)) != len(values):
            raise ValueError
        return tuple(parse_one(value) for value in values)

    schema = {
        "type": "array",
        "items": item,
        "minItems": 1,
        "maxItems": MAX_VALUES,
        "uniqueItems": True,
    }
    return Parameter(
        name,
        f"1 to {MAX_VALUES} different values, separated by commas; each {allowed}",
        parse,
        schema,
    )


def names(name: str, single: str) -> Parameter[tuple[str, ...]]:
    """Return a parameter for a few names.

    `single` is the name of the parameter for a name that contains a comma.
    """
    allowed = f"a name without a comma ({single} also takes a name with a comma)"
    return several(name, str, allowed, {"type": "string", "pattern": "^[^,]+$"})


def time(name: str) -> Parameter[DatetimeMS]:
    """Return a parameter for a time, rounded up to milliseconds: stored times are rounded down."""

    def parse(text: str) -> DatetimeMS:
        try:
            value = msgspec.convert(text, datetime)
        except msgspec.ValidationError:
            raise ValueError from None
        if value.tzinfo is None:
            raise ValueError
        return DatetimeMS(-((_EPOCH - value) // _MILLISECOND))

    allowed = "a time in RFC 3339, for example 2026-01-31T17:00:00Z (percent-encode a +)"
    return Parameter(name, allowed, parse, {"type": "string", "format": "date-time"})


LIMIT: Final = integer("limit", 1, MAX_LIMIT, DEFAULT_LIMIT)
CURSOR: Final = text("cursor", "page.next of the previous page", 512)
ORDER: Final = choice("order", "desc", "asc", default="desc")


def block_number(name: str) -> Parameter[int]:
    """Return a parameter for a block number."""
    return integer(name, 0, MAX_BLOCK_NUMBER)
