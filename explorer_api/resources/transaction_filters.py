"""The filters of the list of transactions."""

from typing import Any, Final

from bson.datetime_ms import DatetimeMS
from msgspec import Struct

from explorer_api.http.parameters import Parameter, Query, block_number, several, text, time
from explorer_api.http.problems import filter_not_indexed, invalid_parameter
from explorer_api.resources.filters import read_range, require_one_filter
from explorer_api.routing.calls import ChannelCall
from ledger.documents.code_names import STATUS_NAMES, validation_code
from ledger.mongodb.transaction_queries import TransactionFilter

_MAX_NAME_BYTES: Final = 1 << 16


def _parse_code(status: str) -> int:
    code = validation_code(status)
    if code is None:
        raise ValueError
    return code


_STATUS: Final = "a validation code's name, such as VALID, or its number"
_STATUS_SCHEMA: Final = {
    "type": "string",
    "anyOf": [
        {"enum": list(STATUS_NAMES)},
        {"pattern": "^(0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$"},
    ],
}

BLOCK_GE: Final = block_number("block.ge")
BLOCK_LE: Final = block_number("block.le")
TS_GE: Final = time("ts.ge")
TS_LT: Final = time("ts.lt")
CHAINCODE: Final = text("chaincode", "a chaincode's name", _MAX_NAME_BYTES)
FUNCTION: Final = text("function", "a function's name; needs chaincode", _MAX_NAME_BYTES)
CREATOR_MSP: Final = text("creatorMsp", "the MSP id of the creator's organisation", _MAX_NAME_BYTES)
TYPE: Final = text(
    "type", "a header type's name, such as ENDORSER_TRANSACTION or CONFIG, or its number", 64
)
STATUS_EQ: Final = Parameter("status.eq", _STATUS, _parse_code, _STATUS_SCHEMA)
STATUS_NE: Final = Parameter("status.ne", _STATUS, _parse_code, _STATUS_SCHEMA)
STATUS_IN: Final = several("status.in", _parse_code, _STATUS, _STATUS_SCHEMA)
STATUS_NI: Final = several("status.ni", _parse_code, _STATUS, _STATUS_SCHEMA)
FILTERS: Final[tuple[Parameter[Any], ...]] = (
    *(CHAINCODE, FUNCTION, CREATOR_MSP, TYPE, STATUS_EQ, STATUS_NE, STATUS_IN, STATUS_NI),
    *(BLOCK_GE, BLOCK_LE, TS_GE, TS_LT),
)


class TransactionFilters(Struct, frozen=True):
    """The filters in a request; None where the client set no bound."""

    first: int | None
    highest: int | None
    since: DatetimeMS | None
    until: DatetimeMS | None
    fields: TransactionFilter

    @property
    def by_time(self) -> bool:
        """Whether the list is ordered by time."""
        return self.since is not None or self.until is not None

    def digest_parts(self) -> tuple[object, ...]:
        """Return all values of the filters."""
        fields = self.fields
        codes = sorted(fields.codes) if fields.codes is not None else None
        return (
            *(self.first, self.highest, self.since, self.until),
            *(fields.chaincode, fields.function, fields.creator_msp, fields.type),
            *(codes, fields.excluded),
        )


def read_transaction_filters(call: ChannelCall) -> TransactionFilters:
    """Return the filters. Raises `ProblemError` for a combination that no index serves."""
    query = call.query
    first, highest = read_range(query, BLOCK_GE, BLOCK_LE)
    since, until = read_range(query, TS_GE, TS_LT, exclusive=True)
    filters = TransactionFilters(first, highest, since, until, _read_fields(query))
    if filters.by_time:
        _require_times_alone(query)
    return filters


def _read_fields(query: Query) -> TransactionFilter:
    require_one_filter(query, CHAINCODE, CREATOR_MSP, TYPE)
    chaincode, function = query.get(CHAINCODE), query.get(FUNCTION)
    if function is not None and chaincode is None:
        raise filter_not_indexed(
            FUNCTION.name,
            "Functions are indexed by chaincode.",
            f"Give {CHAINCODE.name} together with it.",
        )
    codes, excluded = _read_codes(query)
    return TransactionFilter(
        chaincode, function, query.get(CREATOR_MSP), query.get(TYPE), codes, excluded
    )


def _read_codes(query: Query) -> tuple[frozenset[int] | None, bool]:
    """Return the codes that the status filter names, and whether it excludes them."""
    sent: list[tuple[Parameter[Any], frozenset[int], bool]] = []
    for single, excluded in ((STATUS_EQ, False), (STATUS_NE, True)):
        code = query.get(single)
        if code is not None:
            sent.append((single, frozenset({code}), excluded))
    for several_codes, excluded in ((STATUS_IN, False), (STATUS_NI, True)):
        codes = query.get(several_codes)
        if codes is not None:
            sent.append((several_codes, frozenset(codes), excluded))
    if not sent:
        return None, False
    if len(sent) > 1:
        (first, _, _), (second, _, _) = sent[:2]
        allowed = f"nothing where {first.name} is given"
        raise invalid_parameter(second.name, query.sent(second), allowed)
    _, named_codes, excluded = sent[0]
    return named_codes, excluded


def _require_times_alone(query: Query) -> None:
    for parameter in FILTERS:
        if parameter not in (TS_GE, TS_LT) and query.get(parameter) is not None:
            raise filter_not_indexed(
                parameter.name,
                f"No index serves a range of times together with {parameter.name}.",
                "Give block.ge and block.le instead of the times: "
                "/blocks?ts.ge=…&ts.lt=… tells which blocks.",
            )
