"""Writes BSON into a buffer that grows."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, strlen

from ledger.compiled.utf8 cimport is_utf8
from ledger.compiled.wire cimport Span

cdef struct Buffer:
    uint8_t* data
    size_t size
    size_t capacity
    bint failed  # whether memory was missing; nothing is written any more

cdef struct Decimal:
    uint8_t digits[20]
    Span text

cdef enum:
    TEXT = 0x02
    DOCUMENT = 0x03
    ARRAY = 0x04
    BINARY = 0x05
    BOOLEAN = 0x08
    DATETIME = 0x09
    NULL_VALUE = 0x0A
    INT32 = 0x10
    INT64 = 0x12


cdef inline uint8_t* reserve(Buffer* buffer, size_t size) noexcept nogil:
    """Return where to write `size` more bytes; NULL if memory is missing."""
    cdef size_t capacity
    cdef void* data
    if size > buffer.capacity - buffer.size:
        capacity = 2 * (buffer.size + size) + 4096
        data = realloc(buffer.data, capacity) if not buffer.failed else NULL
        if data == NULL:
            buffer.failed = True
            return NULL
        buffer.data = <uint8_t*>data
        buffer.capacity = capacity
    buffer.size += size
    return buffer.data + buffer.size - size


cdef inline void write_bytes(Buffer* buffer, const void* data, size_t size) noexcept nogil:
    cdef uint8_t* target = reserve(buffer, size)
    if target != NULL and size:
        memcpy(target, data, size)


cdef inline void write_int32(Buffer* buffer, int32_t value) noexcept nogil:
    write_bytes(buffer, &value, 4)


cdef inline void write_int64(Buffer* buffer, int64_t value) noexcept nogil:
    write_bytes(buffer, &value, 8)


cdef inline Span name(const char* text) noexcept nogil:
    """Return a name of a field."""
    cdef Span span
    span.data = <const uint8_t*>text
    span.size = <Py_ssize_t>strlen(text)
    return span


cdef inline Span position_name(Decimal* decimal, uint64_t number) noexcept nogil:
    """Return the name of the element of an array at a position: its decimal digits."""
    cdef int at = 20
    while True:
        at -= 1
        decimal.digits[at] = <uint8_t>(0x30 + number % 10)
        number //= 10
        if number == 0:
            break
    decimal.text.data = decimal.digits + at
    decimal.text.size = 20 - at
    return decimal.text


cdef inline void write_key(Buffer* buffer, uint8_t kind, Span key) noexcept nogil:
    """Begin a field: its kind and its name, which contains no NUL."""
    cdef uint8_t* target = reserve(buffer, key.size + 2)
    if target != NULL:
        target[0] = kind
        memcpy(target + 1, key.data, key.size)
        target[key.size + 1] = 0


cdef inline size_t begin(Buffer* buffer) noexcept nogil:
    """Begin a document or an array; return the number that `end` needs."""
    write_int32(buffer, 0)
    return buffer.size - 4


cdef inline size_t begin_field(Buffer* buffer, uint8_t kind, Span key) noexcept nogil:
    """Begin a field that is a document or an array; return the number that `end` needs."""
    write_key(buffer, kind, key)
    return begin(buffer)


cdef inline void end(Buffer* buffer, size_t start) noexcept nogil:
    """End the document or array that began at `start`."""
    cdef int32_t size
    cdef uint8_t zero = 0
    write_bytes(buffer, &zero, 1)
    if not buffer.failed:
        size = <int32_t>(buffer.size - start)
        memcpy(buffer.data + start, &size, 4)


cdef inline void put_text(Buffer* buffer, Span key, Span text) noexcept nogil:
    cdef uint8_t zero = 0
    write_key(buffer, TEXT, key)
    write_int32(buffer, <int32_t>(text.size + 1))
    write_bytes(buffer, text.data, text.size)
    write_bytes(buffer, &zero, 1)


cdef inline void put_text_or_binary(Buffer* buffer, Span key, Span value) noexcept nogil:
    cdef uint8_t generic = 0
    if is_utf8(value.data, value.size):
        put_text(buffer, key, value)
        return
    write_key(buffer, BINARY, key)
    write_int32(buffer, <int32_t>value.size)
    write_bytes(buffer, &generic, 1)
    write_bytes(buffer, value.data, value.size)


cdef inline void put_hex(Buffer* buffer, Span key, Span value) noexcept nogil:
    """Write bytes as a text of lower-case hexadecimal digits."""
    cdef const char* digits = "0123456789abcdef"
    cdef uint8_t* target
    cdef Py_ssize_t index
    write_key(buffer, TEXT, key)
    write_int32(buffer, <int32_t>(2 * value.size + 1))
    target = reserve(buffer, 2 * value.size + 1)
    if target == NULL:
        return
    for index in range(value.size):
        target[2 * index] = digits[value.data[index] >> 4]
        target[2 * index + 1] = digits[value.data[index] & 15]
    target[2 * value.size] = 0


cdef inline void put_hex_or_null(Buffer* buffer, Span key, Span value) noexcept nogil:
    if value.size:
        put_hex(buffer, key, value)
    else:
        write_key(buffer, NULL_VALUE, key)


cdef inline void put_int64(Buffer* buffer, Span key, int64_t value) noexcept nogil:
    write_key(buffer, INT64, key)
    write_int64(buffer, value)


cdef inline void put_int(Buffer* buffer, Span key, int64_t value) noexcept nogil:
    """Write an integer in 32 bits if it fits, as PyMongo does."""
    if -0x80000000 <= value <= 0x7FFFFFFF:
        write_key(buffer, INT32, key)
        write_int32(buffer, <int32_t>value)
    else:
        put_int64(buffer, key, value)


cdef inline void put_datetime(Buffer* buffer, Span key, int64_t milliseconds) noexcept nogil:
    write_key(buffer, DATETIME, key)
    write_int64(buffer, milliseconds)


cdef inline void put_bool(Buffer* buffer, Span key, bint value) noexcept nogil:
    cdef uint8_t byte = 1 if value else 0
    write_key(buffer, BOOLEAN, key)
    write_bytes(buffer, &byte, 1)


cdef inline void put_null(Buffer* buffer, Span key) noexcept nogil:
    write_key(buffer, NULL_VALUE, key)


cdef inline void put_document(Buffer* buffer, Span key, Span encoded) noexcept nogil:
    """Write a field that is an encoded document."""
    write_key(buffer, DOCUMENT, key)
    write_bytes(buffer, encoded.data, encoded.size)
