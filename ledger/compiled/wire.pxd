"""Reads serialized protocol buffers. Every read is checked against the end of the bytes.

Only messages in the common form are accepted: each field at most once unless it is repeated, with
the wire type of its definition, and with valid UTF-8 in text. The reference decides about all others.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from ledger.compiled.utf8 cimport is_utf8

cdef struct Span:
    # Bytes inside an object that is kept elsewhere; `data` is NULL if there are none.
    const uint8_t* data
    Py_ssize_t size

cdef struct Field:
    bint present
    uint64_t number  # the value of an integer field; at most 9 bytes of 7 bits, so below 2^63
    Span span  # the content of a length-delimited field

cdef enum:
    # Sets of field numbers, which are joined by `|`.
    NO_FIELD = 0
    FIELD_1 = 1 << 1
    FIELD_2 = 1 << 2
    FIELD_3 = 1 << 3
    FIELD_4 = 1 << 4
    FIELD_5 = 1 << 5
    FIELD_6 = 1 << 6
    FIELD_7 = 1 << 7
    FIELD_8 = 1 << 8

cdef enum:
    FIELDS = 9  # one more than the highest number of a field that is read
    VARINT = 0
    FIXED64 = 1
    LENGTH_DELIMITED = 2
    FIXED32 = 5
    MAX_VALUE_BYTES = 9  # of an integer; the reference decides about integers of 10 bytes
    MAX_TAG_BYTES = 5  # of a tag or a length; the reference refuses longer ones


cdef inline bint read_varint(Span* rest, int max_bytes, uint64_t* value) noexcept nogil:
    """Take an integer of at most `max_bytes`, which are 9 or fewer, from the beginning of `rest`."""
    cdef uint64_t result = 0
    cdef int shift = 0
    cdef uint8_t byte
    while rest.size > 0 and shift < 7 * max_bytes:
        byte = rest.data[0]
        rest.data += 1
        rest.size -= 1
        result |= <uint64_t>(byte & 0x7F) << shift
        if byte < 0x80:
            value[0] = result
            return True
        shift += 7
    return False


cdef inline bint read_span(Span* rest, uint64_t size, Span* span) noexcept nogil:
    """Take `size` bytes from the beginning of `rest`."""
    if size > <uint64_t>rest.size:
        return False
    span.data = rest.data
    span.size = <Py_ssize_t>size
    rest.data += size
    rest.size -= <Py_ssize_t>size
    return True


cdef inline bint read_field(
    Span* rest, uint32_t* number, int* wire_type, uint64_t* value, Span* span
) noexcept nogil:
    """Take a field from the beginning of `rest`; groups are refused."""
    cdef uint64_t tag
    value[0] = 0
    span.data = NULL
    span.size = 0
    if not read_varint(rest, MAX_TAG_BYTES, &tag) or tag >> 32 or tag < 8:
        return False
    number[0] = <uint32_t>(tag >> 3)
    wire_type[0] = <int>(tag & 7)
    if wire_type[0] == VARINT:
        return read_varint(rest, MAX_VALUE_BYTES, value)
    if wire_type[0] == LENGTH_DELIMITED:
        return read_varint(rest, MAX_TAG_BYTES, value) and read_span(rest, value[0], span)
    if wire_type[0] == FIXED64:
        return read_span(rest, 8, span)
    if wire_type[0] == FIXED32:
        return read_span(rest, 4, span)
    return False


cdef inline bint read_message(
    Span message,
    Field* fields,
    uint32_t numbers,
    uint32_t blobs,
    uint32_t texts,
    uint32_t repeated,
) noexcept nogil:
    """Set `fields`, an array of FIELDS fields, from a message with these sets of fields.

    `numbers` are integers, `blobs` bytes and messages, `texts` strings, and `repeated` repeated
    bytes and messages, which `next_repeated` reads. Return False if the message is not in the
    common form. Fields in none of the sets are skipped.
    """
    cdef uint32_t number, bit
    cdef int wire_type
    cdef uint64_t value
    cdef Span span
    cdef int index
    for index in range(FIELDS):
        fields[index].present = False
        fields[index].number = 0
        fields[index].span.data = NULL
        fields[index].span.size = 0
    while message.size > 0:
        if not read_field(&message, &number, &wire_type, &value, &span):
            return False
        if number >= FIELDS:
            continue
        bit = <uint32_t>1 << number
        if repeated & bit:
            if wire_type != LENGTH_DELIMITED:
                return False
        elif numbers & bit:
            if wire_type != VARINT or fields[number].present:
                return False
            fields[number].number = value
        elif (blobs | texts) & bit:
            if wire_type != LENGTH_DELIMITED or fields[number].present:
                return False
            if texts & bit and not is_utf8(span.data, span.size):
                return False
            fields[number].span = span
        fields[number].present = True
    return True


cdef inline bint next_repeated(Span* rest, uint32_t wanted, Span* span) noexcept nogil:
    """Take fields from `rest` up to the next one with the number `wanted`; False if there is none.

    `read_message` must have accepted the message.
    """
    cdef uint32_t number
    cdef int wire_type
    cdef uint64_t value
    while rest.size > 0:
        if not read_field(rest, &number, &wire_type, &value, span):
            return False
        if number == wanted and wire_type == LENGTH_DELIMITED:
            return True
    return False
