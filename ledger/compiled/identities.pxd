"""Keeps the documents of identities by the identities' serialized bytes."""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from ledger.compiled.wire cimport Span

cdef struct Identity:
    uint64_t hash
    Span serialized
    Span document  # the encoded document
    Py_ssize_t organisation  # an index, which the owner of the table defines
    Identity* next  # with the same bucket

cdef enum:
    BUCKETS = 4096

cdef struct IdentityTable:
    Identity* buckets[BUCKETS]
    Py_ssize_t count
    uint64_t seed  # secret, so that nobody can choose identities with equal hashes


cdef inline uint64_t hash_bytes(Span data, uint64_t seed) noexcept nogil:
    """Return a hash of the bytes (multiplication and rotation, eight bytes at a time)."""
    cdef uint64_t result = seed ^ <uint64_t>data.size
    cdef uint64_t word
    cdef Py_ssize_t at = 0
    while at < data.size:
        word = 0
        memcpy(&word, data.data + at, min(8, data.size - at))
        result = (result ^ word) * <uint64_t>0x9E3779B97F4A7C15
        result ^= result >> 32
        at += 8
    return result


cdef inline Identity* find_identity(IdentityTable* table, Span serialized) noexcept nogil:
    """Return the identity with these bytes, or NULL."""
    cdef uint64_t hashed = hash_bytes(serialized, table.seed)
    cdef Identity* identity = table.buckets[hashed % BUCKETS]
    while identity != NULL:
        if (
            identity.hash == hashed
            and identity.serialized.size == serialized.size
            and memcmp(identity.serialized.data, serialized.data, serialized.size) == 0
        ):
            return identity
        identity = identity.next
    return NULL


cdef inline Identity* add_identity(
    IdentityTable* table, Span serialized, Span document, Py_ssize_t organisation
) noexcept nogil:
    """Add an identity, whose bytes are copied, and return it; NULL if memory is missing."""
    cdef uint8_t* memory = <uint8_t*>malloc(sizeof(Identity) + serialized.size + document.size)
    cdef Identity* identity = <Identity*>memory
    if memory == NULL:
        return NULL
    memory += sizeof(Identity)
    memcpy(memory, serialized.data, serialized.size)
    memcpy(memory + serialized.size, document.data, document.size)
    identity.hash = hash_bytes(serialized, table.seed)
    identity.serialized.data = memory
    identity.serialized.size = serialized.size
    identity.document.data = memory + serialized.size
    identity.document.size = document.size
    identity.organisation = organisation
    identity.next = table.buckets[identity.hash % BUCKETS]
    table.buckets[identity.hash % BUCKETS] = identity
    table.count += 1
    return identity


cdef inline void clear_identities(IdentityTable* table) noexcept nogil:
    """Remove all identities."""
    cdef Identity* identity
    cdef Identity* following
    cdef Py_ssize_t index
    for index in range(BUCKETS):
        identity = table.buckets[index]
        while identity != NULL:
            following = identity.next
            free(identity)
            identity = following
    memset(table.buckets, 0, sizeof(table.buckets))
    table.count = 0
