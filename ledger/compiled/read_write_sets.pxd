"""Writes the read/write sets of a transaction as BSON."""

from ledger.compiled.bson cimport (
    ARRAY,
    DOCUMENT,
    Buffer,
    Decimal,
    begin_field,
    end,
    name,
    position_name,
    put_bool,
    put_hex,
    put_hex_or_null,
    put_int,
    put_null,
    put_text,
    put_text_or_binary,
)
from ledger.compiled.wire cimport (
    FIELD_1,
    FIELD_2,
    FIELD_3,
    FIELD_4,
    FIELD_5,
    FIELDS,
    NO_FIELD,
    Field,
    Span,
    next_repeated,
    read_message,
)

# Reads the message of an element and writes the element's fields; False if the reference must decide.
# The last argument counts the elements of the envelope.
ctypedef bint (*ElementWriter)(Span, Buffer*, int*) noexcept nogil

cdef enum:
    MAX_ELEMENTS = 10_000  # the reference has a higher limit


cdef inline bint write_read_write_sets(Span results, Buffer* buffer) noexcept nogil:
    """Write the field `rwsets` from a TxReadWriteSet.

    Return False if a part is not in the common form; then the field is incomplete.
    """
    cdef Field[FIELDS] fields
    cdef int elements = 0
    return read_message(results, fields, FIELD_1, NO_FIELD, NO_FIELD, FIELD_2) and _write_list(
        results, 2, name("rwsets"), _write_namespace, buffer, &elements
    )


cdef inline bint _write_list(
    Span message, int number, Span key, ElementWriter write, Buffer* buffer, int* elements
) noexcept nogil:
    """Write the field `key`, with an element for each field `number` of a message.

    Return False if an element is not in the common form, or if there are too many.
    """
    cdef Decimal decimal
    cdef Span element
    cdef size_t item, start = begin_field(buffer, ARRAY, key)
    cdef int index = 0
    while next_repeated(&message, number, &element):
        elements[0] += 1
        if elements[0] > MAX_ELEMENTS:
            return False
        item = begin_field(buffer, DOCUMENT, position_name(&decimal, index))
        if not write(element, buffer, elements):
            return False
        end(buffer, item)
        index += 1
    end(buffer, start)
    return True


cdef inline bint _write_namespace(Span message, Buffer* buffer, int* elements) noexcept nogil:
    """Write the fields of an NsReadWriteSet."""
    cdef Field[FIELDS] fields
    cdef Field[FIELDS] sets
    cdef Span kv
    if not read_message(message, fields, NO_FIELD, FIELD_2, FIELD_1, FIELD_3):
        return False
    kv = fields[2].span
    if not read_message(
        kv, sets, NO_FIELD, NO_FIELD, NO_FIELD, FIELD_1 | FIELD_2 | FIELD_3 | FIELD_4
    ):
        return False
    if sets[4].present:  # metadata writes
        return False
    put_text(buffer, name("namespace"), fields[1].span)
    if not _write_list(kv, 1, name("reads"), _write_read, buffer, elements):
        return False
    if not _write_list(kv, 3, name("writes"), _write_write, buffer, elements):
        return False
    if sets[2].present and not _write_list(
        kv, 2, name("rangeQueries"), _write_range_query, buffer, elements
    ):
        return False
    return not fields[3].present or _write_list(
        message, 3, name("collections"), _write_collection, buffer, elements
    )


cdef inline bint _write_read(Span message, Buffer* buffer, int* elements) noexcept nogil:
    """Write the fields of a KVRead."""
    cdef Field[FIELDS] fields
    if not read_message(message, fields, NO_FIELD, FIELD_2, FIELD_1, NO_FIELD):
        return False
    put_text(buffer, name("key"), fields[1].span)
    return _write_version(fields[2], buffer)


cdef inline bint _write_version(Field field, Buffer* buffer) noexcept nogil:
    """Write the field `version` from a Version message, which may be absent."""
    cdef Field[FIELDS] version
    cdef size_t start
    if not field.present:
        put_null(buffer, name("version"))
        return True
    if not read_message(field.span, version, FIELD_1 | FIELD_2, NO_FIELD, NO_FIELD, NO_FIELD):
        return False
    start = begin_field(buffer, DOCUMENT, name("version"))
    put_int(buffer, name("block"), version[1].number)
    put_int(buffer, name("tx"), version[2].number)
    end(buffer, start)
    return True


cdef inline bint _write_write(Span message, Buffer* buffer, int* elements) noexcept nogil:
    """Write the fields of a KVWrite."""
    cdef Field[FIELDS] fields
    if not read_message(message, fields, FIELD_2, FIELD_3, FIELD_1, NO_FIELD):
        return False
    put_text(buffer, name("key"), fields[1].span)
    if not fields[2].number or fields[3].span.size:
        put_text_or_binary(buffer, name("value"), fields[3].span)
    put_bool(buffer, name("isDelete"), fields[2].number != 0)
    return True


cdef inline bint _write_range_query(Span message, Buffer* buffer, int* elements) noexcept nogil:
    """Write the fields of a RangeQueryInfo."""
    cdef Field[FIELDS] fields
    cdef Field[FIELDS] reads
    if not read_message(message, fields, FIELD_3, FIELD_4 | FIELD_5, FIELD_1 | FIELD_2, NO_FIELD):
        return False
    if fields[5].present:  # the summary of a large query
        return False
    if not read_message(fields[4].span, reads, NO_FIELD, NO_FIELD, NO_FIELD, FIELD_1):
        return False
    put_text(buffer, name("startKey"), fields[1].span)
    put_text(buffer, name("endKey"), fields[2].span)
    put_bool(buffer, name("exhausted"), fields[3].number != 0)
    return not fields[4].present or _write_list(
        fields[4].span, 1, name("reads"), _write_read, buffer, elements
    )


cdef inline bint _write_collection(Span message, Buffer* buffer, int* elements) noexcept nogil:
    """Write the fields of a CollectionHashedReadWriteSet."""
    cdef Field[FIELDS] fields
    cdef Field[FIELDS] hashed
    cdef Span hashes
    if not read_message(message, fields, NO_FIELD, FIELD_2 | FIELD_3, FIELD_1, NO_FIELD):
        return False
    hashes = fields[2].span
    if not read_message(
        hashes, hashed, NO_FIELD, NO_FIELD, NO_FIELD, FIELD_1 | FIELD_2 | FIELD_3
    ):
        return False
    if hashed[3].present:  # metadata writes
        return False
    put_text(buffer, name("collection"), fields[1].span)
    if not _write_list(hashes, 1, name("reads"), _write_hashed_read, buffer, elements):
        return False
    if not _write_list(hashes, 2, name("writes"), _write_hashed_write, buffer, elements):
        return False
    put_hex_or_null(buffer, name("hash"), fields[3].span)
    return True


cdef inline bint _write_hashed_read(Span message, Buffer* buffer, int* elements) noexcept nogil:
    """Write the fields of a KVReadHash."""
    cdef Field[FIELDS] fields
    if not read_message(message, fields, NO_FIELD, FIELD_1 | FIELD_2, NO_FIELD, NO_FIELD):
        return False
    put_hex(buffer, name("keyHash"), fields[1].span)
    return _write_version(fields[2], buffer)


cdef inline bint _write_hashed_write(Span message, Buffer* buffer, int* elements) noexcept nogil:
    """Write the fields of a KVWriteHash."""
    cdef Field[FIELDS] fields
    if not read_message(message, fields, FIELD_2 | FIELD_4, FIELD_1 | FIELD_3, NO_FIELD, NO_FIELD):
        return False
    put_hex(buffer, name("keyHash"), fields[1].span)
    put_hex_or_null(buffer, name("valueHash"), fields[3].span)
    put_bool(buffer, name("isDelete"), fields[2].number != 0)
    put_bool(buffer, name("isPurge"), fields[4].number != 0)
    return True
