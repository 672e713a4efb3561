"""Writes a JSON payload as BSON, if the payload is in the form that most programs write.

This form is compact JSON with whole numbers of at most 18 digits, strings without escapes, and
objects without repeated keys. The same bytes result when it is encoded again. The reference decides
about every other payload, valid or not.
"""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memchr, memcmp

from ledger.compiled.bson cimport (
    ARRAY,
    DOCUMENT,
    Buffer,
    Decimal,
    begin_field,
    end,
    position_name,
    put_bool,
    put_int,
    put_null,
    put_text,
)
from ledger.compiled.wire cimport Span

cdef enum:
    MAX_DEPTH = 16
    MAX_KEYS = 32
    MAX_DIGITS = 18
    MAX_COMMAS = 10_000  # the reference stores a payload with more of them as text


cdef inline bint has_few_commas(Span text) noexcept nogil:
    """Return whether the text has at most MAX_COMMAS commas, those inside strings included."""
    cdef Py_ssize_t index
    cdef int count = 0
    if text.size <= MAX_COMMAS:
        return True
    for index in range(text.size):
        count += text.data[index] == c","
    return count <= MAX_COMMAS


cdef inline bint _take(Span* rest, uint8_t byte) noexcept nogil:
    """Take this byte from the beginning of `rest`, if it is there."""
    if rest.size == 0 or rest.data[0] != byte:
        return False
    rest.data += 1
    rest.size -= 1
    return True


cdef inline bint _take_word(Span* rest, const char* word, Py_ssize_t size) noexcept nogil:
    if rest.size < size or memcmp(rest.data, word, size) != 0:
        return False
    rest.data += size
    rest.size -= size
    return True


cdef inline bint _take_string(Span* rest, Span* text) noexcept nogil:
    """Take a string without escapes."""
    if not _take(rest, c'"'):
        return False
    text.data = rest.data
    text.size = 0
    while rest.size > 0 and rest.data[0] >= 0x20 and rest.data[0] != c"\\":
        if _take(rest, c'"'):
            return True
        rest.data += 1
        rest.size -= 1
        text.size += 1
    return False


cdef inline bint _take_integer(Span* rest, int64_t* value) noexcept nogil:
    """Take a whole number in its shortest form; `-0` and fractions are refused."""
    cdef bint negative = _take(rest, c"-")
    cdef int64_t result = 0
    cdef int digits = 0
    cdef bint leading_zero = rest.size > 0 and rest.data[0] == c"0"
    while rest.size > 0 and c"0" <= rest.data[0] <= c"9" and digits < MAX_DIGITS:
        result = 10 * result + (rest.data[0] - c"0")
        rest.data += 1
        rest.size -= 1
        digits += 1
    if digits == 0 or (leading_zero and (digits > 1 or negative)):
        return False
    if rest.size > 0 and (
        c"0" <= rest.data[0] <= c"9" or rest.data[0] in (c".", c"e", c"E")
    ):
        return False
    value[0] = -result if negative else result
    return True


cdef inline bint _is_storable_key(Span key, const Span* keys, int count) noexcept nogil:
    """Return whether BSON holds the key as it is, and no earlier key of the object equals it."""
    cdef int index
    if key.size and (key.data[0] == c"$" or memchr(key.data, c".", key.size) != NULL):
        return False
    for index in range(count):
        if keys[index].size == key.size and memcmp(keys[index].data, key.data, key.size) == 0:
            return False
    return True


cdef inline bint _write_object(Span* rest, Buffer* buffer, int depth) noexcept nogil:
    """Write the fields of an object, whose opening brace is already taken."""
    cdef Span[MAX_KEYS] keys
    cdef int count = 0
    if _take(rest, c"}"):
        return True
    while count < MAX_KEYS:
        if not _take_string(rest, &keys[count]):
            return False
        if not _is_storable_key(keys[count], keys, count) or not _take(rest, c":"):
            return False
        if not write_value(rest, buffer, keys[count], depth - 1):
            return False
        if _take(rest, c"}"):
            return True
        if not _take(rest, c","):
            return False
        count += 1
    return False


cdef inline bint _write_array(Span* rest, Buffer* buffer, int depth) noexcept nogil:
    """Write the elements of an array, whose opening bracket is already taken."""
    cdef Decimal decimal
    cdef int count = 0
    if _take(rest, c"]"):
        return True
    while True:
        if not write_value(rest, buffer, position_name(&decimal, count), depth - 1):
            return False
        if _take(rest, c"]"):
            return True
        if not _take(rest, c","):
            return False
        count += 1


cdef inline bint write_value(Span* rest, Buffer* buffer, Span key, int depth) noexcept nogil:
    """Take a JSON value from `rest`, which is valid UTF-8, and write it as the field `key`.

    Return False if the value is not in the common form; then an incomplete field is written.
    """
    cdef Span text
    cdef int64_t number = 0
    cdef size_t start
    cdef bint written
    if rest.size == 0 or depth == 0:
        return False
    if rest.data[0] == c'"':
        if not _take_string(rest, &text):
            return False
        put_text(buffer, key, text)
    elif _take(rest, c"{"):
        start = begin_field(buffer, DOCUMENT, key)
        written = _write_object(rest, buffer, depth)
        end(buffer, start)
        return written
    elif _take(rest, c"["):
        start = begin_field(buffer, ARRAY, key)
        written = _write_array(rest, buffer, depth)
        end(buffer, start)
        return written
    elif _take_word(rest, b"true", 4):
        put_bool(buffer, key, True)
    elif _take_word(rest, b"false", 5):
        put_bool(buffer, key, False)
    elif _take_word(rest, b"null", 4):
        put_null(buffer, key)
    elif _take_integer(rest, &number):
        put_int(buffer, key, number)
    else:
        return False
    return True
