"""Writes the fields of a transaction's documents that come from its headers and its action."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from ledger.compiled.bson cimport (
    ARRAY,
    DOCUMENT,
    Buffer,
    Decimal,
    begin_field,
    end,
    name,
    position_name,
    put_datetime,
    put_int,
    put_int64,
    put_null,
    put_text,
    put_text_or_binary,
)
from ledger.compiled.envelopes cimport Action, Headers
from ledger.compiled.wire cimport Span, next_repeated

cdef enum:
    MAX_ITEMS = 10_000  # of arguments and of endorsements

cdef extern from *:
    """
    #define MAX_SECONDS 253402300799ULL
    """
    const uint64_t MAX_SECONDS  # the end of year 9999

cdef struct Envelope:
    # What is known of an envelope, and what its block's document needs of it.
    Span data
    uint8_t code
    bint owns_id
    const uint8_t* digest
    bint in_common_form
    bint has_event
    bint has_ts
    int64_t ts
    Span chaincode
    Py_ssize_t organisation


cdef inline bint set_facts(Headers* headers, Action* action, Envelope* envelope) noexcept nogil:
    """Set the chaincode and the time; return False if the reference must decide about them."""
    cdef uint64_t seconds = headers.timestamp[1].number, nanos = headers.timestamp[2].number
    envelope.chaincode = action.chaincode[2].span
    if envelope.chaincode.size == 0 or _may_be_lifecycle(envelope.chaincode):
        return False
    if seconds > MAX_SECONDS or nanos >= 1_000_000_000:
        return False
    envelope.has_ts = headers.channel[3].present
    envelope.ts = seconds * 1000 + nanos // 1_000_000
    return action.response[1].number <= 0x7FFFFFFF


cdef inline bint _may_be_lifecycle(Span chaincode) noexcept nogil:
    """Return whether the name begins like `_lifecycle`, whose calls the reference decodes."""
    return chaincode.data[0] == c"_"


cdef inline void write_position(
    Buffer* buffer, int64_t number, Py_ssize_t index, const Envelope* envelope, Span tx_id
) noexcept nogil:
    """Write the fields `_id` and `txId`."""
    cdef int64_t position = number << 20 | index
    put_int64(buffer, name("_id"), position)
    if envelope.owns_id:
        put_text(buffer, name("txId"), tx_id)
    else:
        put_int64(buffer, name("txId"), position)


cdef inline void write_ts(Buffer* buffer, const Envelope* envelope) noexcept nogil:
    if envelope.has_ts:
        put_datetime(buffer, name("ts"), envelope.ts)
    else:
        put_null(buffer, name("ts"))


cdef inline void write_timestamp(Buffer* buffer, const Headers* headers) noexcept nogil:
    cdef size_t start
    if not headers.channel[3].present:
        put_null(buffer, name("timestamp"))
        return
    start = begin_field(buffer, DOCUMENT, name("timestamp"))
    put_int(buffer, name("seconds"), headers.timestamp[1].number)
    put_int(buffer, name("nanos"), headers.timestamp[2].number)
    end(buffer, start)


cdef inline bint write_arguments(Buffer* buffer, Span chaincode_input) noexcept nogil:
    """Write the fields `function` and `args` from a ChaincodeInput."""
    cdef Decimal decimal
    cdef Span argument
    cdef size_t start
    cdef int index = 0
    if next_repeated(&chaincode_input, 1, &argument):
        put_text_or_binary(buffer, name("function"), argument)
    else:
        put_null(buffer, name("function"))
    start = begin_field(buffer, ARRAY, name("args"))
    while next_repeated(&chaincode_input, 1, &argument):
        if index >= MAX_ITEMS:
            return False
        put_text_or_binary(buffer, position_name(&decimal, index), argument)
        index += 1
    end(buffer, start)
    return True


cdef inline void write_response(Buffer* buffer, const Action* action) noexcept nogil:
    cdef size_t start
    if not action.has_response:
        put_null(buffer, name("response"))
        return
    start = begin_field(buffer, DOCUMENT, name("response"))
    put_int(buffer, name("status"), action.response[1].number)
    put_text(buffer, name("message"), action.response[2].span)
    put_text_or_binary(buffer, name("payload"), action.response[3].span)
    end(buffer, start)
