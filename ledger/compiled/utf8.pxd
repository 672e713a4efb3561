"""Checks UTF-8 as Python's strict decoder does (The Unicode Standard, table 3-7)."""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy


cdef inline bint _continues(uint8_t byte) noexcept nogil:
    return byte & 0xC0 == 0x80


cdef inline bint is_utf8(const uint8_t* data, Py_ssize_t size) noexcept nogil:
    """Return whether the bytes are valid UTF-8."""
    cdef Py_ssize_t at = 0
    cdef uint64_t eight
    cdef uint8_t first, second
    while at < size:
        while size - at >= 8:
            memcpy(&eight, data + at, 8)
            if eight & <uint64_t>0x8080808080808080:
                break
            at += 8
        if at == size:
            return True
        first = data[at]
        if first < 0x80:
            at += 1
            continue
        if size - at < 2 or not _continues(data[at + 1]):
            return False
        second = data[at + 1]
        if 0xC2 <= first <= 0xDF:
            at += 2
            continue
        if size - at < 3 or not _continues(data[at + 2]):
            return False
        if 0xE0 <= first <= 0xEF:
            if first == 0xE0 and second < 0xA0 or first == 0xED and second > 0x9F:
                return False
            at += 3
            continue
        if size - at < 4 or not _continues(data[at + 3]):
            return False
        if 0xF0 <= first <= 0xF4:
            if first == 0xF0 and second < 0x90 or first == 0xF4 and second > 0x8F:
                return False
            at += 4
            continue
        return False
    return True
