"""The filters of the list of transactions."""

from typing import Any, Final

from msgspec import Struct

from explorer_api.http.parameters import (
    Parameter,
    Query,
    block_number,
    equality_filter,
    several,
    text,
    time,
)
from explorer_api.http.problems import filter_not_indexed, invalid_parameter
from explorer_api.resources.filters import (
    TimeRange,
    read_range,
    read_time_range,
    require_at_most_one,
)
from explorer_api.routing.calls import ChannelCall
from ledger.documents.code_names import STATUS_NAMES, validation_code
from ledger.mongodb.transaction_queries import TransactionFilter

_MAX_NAME_BYTES: Final = 1 << 16
_STATUS: Final = "the name of a validation code, for example VALID, or its number"
_STATUS_SCHEMA: Final = {
    "type": "string",
    "anyOf": [
        {"enum": list(STATUS_NAMES)},
        {"pattern": "^(0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$"},
    ],
}


def _parse_code(status: str) -> int:
    code = validation_code(status)
    if code is None:
        raise ValueError
    return code


BLOCK_GE: Final = block_number("block.ge")
BLOCK_LE: Final = block_number("block.le")
TS_GE: Final = time("ts.ge")
TS_LT: Final = time("ts.lt")
CHAINCODE: Final = equality_filter(text("chaincode", "the name of a chaincode", _MAX_NAME_BYTES))
FUNCTION: Final = equality_filter(
    text("function", "the name of a function (requires chaincode)", _MAX_NAME_BYTES)
)
CREATOR_MSP: Final = equality_filter(
    text("creatorMsp", "the MSP id of the creator's organisation", _MAX_NAME_BYTES)
)
TYPE: Final = equality_filter(
    text(
        "type",
        "the name of a header type, for example ENDORSER_TRANSACTION or CONFIG, or its number",
        64,
    )
)
STATUS: Final = equality_filter(Parameter("status", _STATUS, _parse_code, _STATUS_SCHEMA))
STATUS_NE: Final = Parameter("status.ne", _STATUS, _parse_code, _STATUS_SCHEMA)
STATUS_IN: Final = several("status.in", _parse_code, _STATUS, _STATUS_SCHEMA)
STATUS_NI: Final = several("status.ni", _parse_code, _STATUS, _STATUS_SCHEMA)
FILTERS: Final[tuple[Parameter[Any], ...]] = (
    CHAINCODE,
    FUNCTION,
    CREATOR_MSP,
    TYPE,
    STATUS,
    STATUS_NE,
    STATUS_IN,
    STATUS_NI,
    BLOCK_GE,
    BLOCK_LE,
    TS_GE,
    TS_LT,
)


class TransactionFilters(Struct, frozen=True):
    """The filters in a request.

    `first` and `last` are the numbers of the first and last block, None for no bound.
    """

    first: int | None
    last: int | None
    times: TimeRange
    fields: TransactionFilter

    def digest_parts(self) -> tuple[object, ...]:
        """Return all values of the filters."""
        fields = self.fields
        codes = sorted(fields.codes) if fields.codes is not None else None
        return (
            self.first,
            self.last,
            self.times.since,
            self.times.until,
            fields.chaincode,
            fields.function,
            fields.creator_msp,
            fields.type,
            codes,
            fields.excluded,
        )


def read_transaction_filters(call: ChannelCall) -> TransactionFilters:
    """Return the filters. Raises `ProblemError` when no index supports their combination."""
    query = call.query
    first, last = read_range(query, BLOCK_GE, BLOCK_LE)
    times = read_time_range(query, TS_GE, TS_LT)
    fields = _read_fields(query)
    if times.is_bounded:
        _require_only_times(query)
    return TransactionFilters(first, last, times, fields)


def _read_fields(query: Query) -> TransactionFilter:
    require_at_most_one(query, CHAINCODE, CREATOR_MSP, TYPE)
    chaincode, function = query.get(CHAINCODE), query.get(FUNCTION)
    if function is not None and chaincode is None:
        raise filter_not_indexed(
            query.sent_name(FUNCTION),
            "Functions are indexed together with their chaincode.",
            f"Give {CHAINCODE.name} too.",
        )
    codes, excluded = _read_codes(query)
    return TransactionFilter(
        chaincode, function, query.get(CREATOR_MSP), query.get(TYPE), codes, excluded
    )


def _read_codes(query: Query) -> tuple[frozenset[int] | None, bool]:
    """Return the validation codes of the status filter, and whether it excludes them."""
    status_filters: list[tuple[Parameter[Any], frozenset[int], bool]] = []
    for parameter, excluded in ((STATUS, False), (STATUS_NE, True)):
        code = query.get(parameter)
        if code is not None:
            status_filters.append((parameter, frozenset({code}), excluded))
    for list_parameter, excluded in ((STATUS_IN, False), (STATUS_NI, True)):
        several_codes = query.get(list_parameter)
        if several_codes is not None:
            status_filters.append((list_parameter, frozenset(several_codes), excluded))
    if len(status_filters) > 1:
        first, second = status_filters[0][0], status_filters[1][0]
        allowed = f"nothing if {query.sent_name(first)} is given"
        raise invalid_parameter(query.sent_name(second), query.sent(second), allowed)
    if not status_filters:
        return None, False
    _, codes, excluded = status_filters[0]
    return codes, excluded


def _require_only_times(query: Query) -> None:
    for parameter in FILTERS:
        if parameter not in (TS_GE, TS_LT) and query.get(parameter) is not None:
            name = query.sent_name(parameter)
            raise filter_not_indexed(
                name,
                f"No index supports a range of times together with {name}.",
                "Find the blocks of these times with /blocks?ts.ge=…&ts.lt=…, and give their "
                "numbers as block.ge and block.le.",
            )
