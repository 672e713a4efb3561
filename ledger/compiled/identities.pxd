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
    KEPT_TABLE_BYTES = 8 << 20  # from one block to the next: about 5,000 ordinary identities
    MAX_TABLE_BYTES = 16 << 20  # within a block; then the reference decides about new identities

cdef struct IdentityTable:
    Identity* buckets[BUCKETS]
    size_t size  # the bytes of all identities
    uint64_t key[2]  # secret, so that nobody can choose identities with equal hashes


cdef inline uint64_t _rotate(uint64_t value, int bits) noexcept nogil:
    return value << bits | value >> (64 - bits)


cdef inline void _mix(uint64_t* state) noexcept nogil:
    state[0] += state[1]
    state[1] = _rotate(state[1], 13) ^ state[0]
    state[0] = _rotate(state[0], 32)
    state[2] += state[3]
    state[3] = _rotate(state[3], 16) ^ state[2]
    state[0] += state[3]
    state[3] = _rotate(state[3], 21) ^ state[0]
    state[2] += state[1]
    state[1] = _rotate(state[1], 17) ^ state[2]
    state[2] = _rotate(state[2], 32)


cdef inline uint64_t hash_bytes(Span data, const uint64_t* key) noexcept nogil:
    """Return the SipHash-1-3 of the bytes: without the key, nobody finds bytes with equal hashes."""
    cdef uint64_t state[4]
    cdef uint64_t word
    cdef Py_ssize_t at = 0
    state[0] = key[0] ^ <uint64_t>0x736F6D6570736575
    state[1] = key[1] ^ <uint64_t>0x646F72616E646F6D
    state[2] = key[0] ^ <uint64_t>0x6C7967656E657261
    state[3] = key[1] ^ <uint64_t>0x7465646279746573
    while data.size - at >= 8:
        memcpy(&word, data.data + at, 8)
        state[3] ^= word
        _mix(state)
        state[0] ^= word
        at += 8
    word = 0
    memcpy(&word, data.data + at, data.size - at)
    word |= <uint64_t>data.size << 56
    state[3] ^= word
    _mix(state)
    state[0] ^= word
    state[2] ^= 0xFF
    _mix(state)
    _mix(state)
    _mix(state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


cdef inline Identity* find_identity(IdentityTable* table, Span serialized) noexcept nogil:
    """Return the identity with these bytes, or NULL."""
    cdef uint64_t hashed = hash_bytes(serialized, table.key)
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
    cdef size_t size = sizeof(Identity) + serialized.size + document.size
    cdef uint8_t* memory = <uint8_t*>malloc(size)
    cdef Identity* identity = <Identity*>memory
    if memory == NULL:
        return NULL
    memory += sizeof(Identity)
    memcpy(memory, serialized.data, serialized.size)
    memcpy(memory + serialized.size, document.data, document.size)
    identity.hash = hash_bytes(serialized, table.key)
    identity.serialized.data = memory
    identity.serialized.size = serialized.size
    identity.document.data = memory + serialized.size
    identity.document.size = document.size
    identity.organisation = organisation
    identity.next = table.buckets[identity.hash % BUCKETS]
    table.buckets[identity.hash % BUCKETS] = identity
    table.size += size
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
    table.size = 0
