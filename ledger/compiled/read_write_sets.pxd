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

cdef enum:
    MAX_ELEMENTS = 10_000  # the reference has a higher limit


cdef inline bint write_read_write_sets(Span results, Buffer* buffer) noexcept nogil:
    """Write the field `rwsets` from a TxReadWriteSet.

    Return False if a part is not in the common form; then the field is incomplete.
    """
    cdef Field[FIELDS] fields
    cdef Decimal decimal
    cdef Span namespace
    cdef size_t start
    cdef int elements = 0, index = 0
    if not read_message(results, fields, FIELD_1, NO_FIELD, NO_FIELD, FIELD_2):
        return False
    start = begin_field(buffer, ARRAY, name("rwsets"))
    while next_repeated(&results, 2, &namespace):
        if not _write_namespace(namespace, buffer, position_name(&decimal, index), &elements):
            return False
        index += 1
    end(buffer, start)
    return True


cdef inline bint _count(int* elements) noexcept nogil:
    """Count an element; return whether there are not too many."""
    elements[0] += 1
    return elements[0] <= MAX_ELEMENTS


cdef inline bint _write_namespace(
    Span message, Buffer* buffer, Span key, int* elements
) noexcept nogil:
    cdef Field[FIELDS] fields
    cdef Field[FIELDS] sets
    cdef size_t start
    if not read_message(message, fields, NO_FIELD, FIELD_2, FIELD_1, FIELD_3):
        return False
    if not read_message(
        fields[2].span, sets, NO_FIELD, NO_FIELD, NO_FIELD, FIELD_1 | FIELD_2 | FIELD_3 | FIELD_4
    ):
        return False
    if sets[4].present or not _count(elements):  # metadata writes
        return False
    start = begin_field(buffer, DOCUMENT, key)
    put_text(buffer, name("namespace"), fields[1].span)
    if not _write_reads(fields[2].span, 1, buffer, elements):
        return False
    if not _write_writes(fields[2].span, buffer, elements):
        return False
    if sets[2].present and not _write_range_queries(fields[2].span, buffer, elements):
        return False
    if fields[3].present and not _write_collections(message, buffer, elements):
        return False
    end(buffer, start)
    return True


cdef inline bint _write_reads(
    Span message, int number, Buffer* buffer, int* elements
) noexcept nogil:
    """Write the field `reads` from the KVRead messages in the field `number` of a message."""
    cdef Field[FIELDS] fields
    cdef Decimal decimal
    cdef Span read
    cdef size_t item, start = begin_field(buffer, ARRAY, name("reads"))
    cdef int index = 0
    while next_repeated(&message, number, &read):
        if not _count(elements):
            return False
        if not read_message(read, fields, NO_FIELD, FIELD_2, FIELD_1, NO_FIELD):
            return False
        item = begin_field(buffer, DOCUMENT, position_name(&decimal, index))
        put_text(buffer, name("key"), fields[1].span)
        if not _write_version(fields[2], buffer):
            return False
        end(buffer, item)
        index += 1
    end(buffer, start)
    return True


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


cdef inline bint _write_writes(Span message, Buffer* buffer, int* elements) noexcept nogil:
    """Write the field `writes` from the KVWrite messages of a KVRWSet."""
    cdef Field[FIELDS] fields
    cdef Decimal decimal
    cdef Span write
    cdef size_t item, start = begin_field(buffer, ARRAY, name("writes"))
    cdef int index = 0
    while next_repeated(&message, 3, &write):
        if not _count(elements):
            return False
        if not read_message(write, fields, FIELD_2, FIELD_3, FIELD_1, NO_FIELD):
            return False
        item = begin_field(buffer, DOCUMENT, position_name(&decimal, index))
        put_text(buffer, name("key"), fields[1].span)
        if not fields[2].number or fields[3].span.size:
            put_text_or_binary(buffer, name("value"), fields[3].span)
        put_bool(buffer, name("isDelete"), fields[2].number != 0)
        end(buffer, item)
        index += 1
    end(buffer, start)
    return True


cdef inline bint _write_range_queries(Span message, Buffer* buffer, int* elements) noexcept nogil:
    """Write the field `rangeQueries` from the RangeQueryInfo messages of a KVRWSet."""
    cdef Field[FIELDS] fields
    cdef Field[FIELDS] reads
    cdef Decimal decimal
    cdef Span query
    cdef size_t item, start = begin_field(buffer, ARRAY, name("rangeQueries"))
    cdef int index = 0
    while next_repeated(&message, 2, &query):
        if not _count(elements):
            return False
        if not read_message(query, fields, FIELD_3, FIELD_4 | FIELD_5, FIELD_1 | FIELD_2, NO_FIELD):
            return False
        if fields[5].present:  # the summary of a large query
            return False
        if not read_message(fields[4].span, reads, NO_FIELD, NO_FIELD, NO_FIELD, FIELD_1):
            return False
        item = begin_field(buffer, DOCUMENT, position_name(&decimal, index))
        put_text(buffer, name("startKey"), fields[1].span)
        put_text(buffer, name("endKey"), fields[2].span)
        put_bool(buffer, name("exhausted"), fields[3].number != 0)
        if fields[4].present and not _write_reads(fields[4].span, 1, buffer, elements):
            return False
        end(buffer, item)
        index += 1
    end(buffer, start)
    return True


cdef inline bint _write_collections(Span message, Buffer* buffer, int* elements) noexcept nogil:
    """Write the field `collections` from the collections of an NsReadWriteSet."""
    cdef Field[FIELDS] fields
    cdef Field[FIELDS] hashed
    cdef Decimal decimal
    cdef Span collection
    cdef size_t item, start = begin_field(buffer, ARRAY, name("collections"))
    cdef int index = 0
    while next_repeated(&message, 3, &collection):
        if not _count(elements):
            return False
        if not read_message(collection, fields, NO_FIELD, FIELD_2 | FIELD_3, FIELD_1, NO_FIELD):
            return False
        if not read_message(
            fields[2].span, hashed, NO_FIELD, NO_FIELD, NO_FIELD, FIELD_1 | FIELD_2 | FIELD_3
        ):
            return False
        if hashed[3].present:  # metadata writes
            return False
        item = begin_field(buffer, DOCUMENT, position_name(&decimal, index))
        put_text(buffer, name("collection"), fields[1].span)
        if not _write_hashed_reads(fields[2].span, buffer, elements):
            return False
        if not _write_hashed_writes(fields[2].span, buffer, elements):
            return False
        put_hex_or_null(buffer, name("hash"), fields[3].span)
        end(buffer, item)
        index += 1
    end(buffer, start)
    return True


cdef inline bint _write_hashed_reads(Span message, Buffer* buffer, int* elements) noexcept nogil:
    """Write the field `reads` from the KVReadHash messages of a HashedRWSet."""
    cdef Field[FIELDS] fields
    cdef Decimal decimal
    cdef Span read
    cdef size_t item, start = begin_field(buffer, ARRAY, name("reads"))
    cdef int index = 0
    while next_repeated(&message, 1, &read):
        if not _count(elements):
            return False
        if not read_message(read, fields, NO_FIELD, FIELD_1 | FIELD_2, NO_FIELD, NO_FIELD):
            return False
        item = begin_field(buffer, DOCUMENT, position_name(&decimal, index))
        put_hex(buffer, name("keyHash"), fields[1].span)
        if not _write_version(fields[2], buffer):
            return False
        end(buffer, item)
        index += 1
    end(buffer, start)
    return True


cdef inline bint _write_hashed_writes(Span message, Buffer* buffer, int* elements) noexcept nogil:
    """Write the field `writes` from the KVWriteHash messages of a HashedRWSet."""
    cdef Field[FIELDS] fields
    cdef Decimal decimal
    cdef Span write
    cdef size_t item, start = begin_field(buffer, ARRAY, name("writes"))
    cdef int index = 0
    while next_repeated(&message, 2, &write):
        if not _count(elements):
            return False
        if not read_message(write, fields, FIELD_2 | FIELD_4, FIELD_1 | FIELD_3, NO_FIELD, NO_FIELD):
            return False
        item = begin_field(buffer, DOCUMENT, position_name(&decimal, index))
        put_hex(buffer, name("keyHash"), fields[1].span)
        put_hex_or_null(buffer, name("valueHash"), fields[3].span)
        put_bool(buffer, name("isDelete"), fields[2].number != 0)
        put_bool(buffer, name("isPurge"), fields[4].number != 0)
        end(buffer, item)
        index += 1
    end(buffer, start)
    return True
