"""Collects the writes of a block, and serializes the final change of each key as Fabric does.

The reference is `ledger.state_changes`, which explains the rules.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, qsort, realloc
from libc.string cimport memcmp

from ledger.compiled.bson cimport Buffer, write_bytes
from ledger.compiled.wire cimport (
    FIELD_1,
    FIELD_2,
    FIELD_3,
    FIELD_4,
    FIELDS,
    NO_FIELD,
    Field,
    Span,
    next_repeated,
    read_message,
)

cdef extern from *:
    """
    static const unsigned char HASH_OF_EMPTY[32] = {
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
        0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55
    };
    """
    const uint8_t HASH_OF_EMPTY[32]

cdef struct Write:
    Span space
    Span collection
    Span key
    Span value
    bint is_delete
    Py_ssize_t index  # of the transaction
    size_t order  # in the block

cdef struct Writes:
    Write* items
    size_t count
    size_t capacity
    size_t total  # also those that were collected before and taken
    bint failed  # whether memory was missing
    bint needs_reference  # whether the reference must make the changes of the block

cdef enum:
    NAMESPACE_TAG = 0x0A
    COLLECTION_TAG = 0x12
    KEY_TAG = 0x1A
    DELETED_TAG = 0x20
    VALUE_TAG = 0x2A
    VERSION_TAG = 0x32
    MAX_VERSION_BYTES = 18


cdef inline void clear_writes(Writes* writes, size_t kept) noexcept nogil:
    """Forget the writes, and free their memory if there is room for more than `kept`."""
    writes.count = writes.total = 0
    writes.needs_reference = False
    if writes.capacity > kept or writes.failed:
        free(writes.items)
        writes.items = NULL
        writes.capacity = 0
        writes.failed = False


cdef inline Write* _new_write(Writes* writes, size_t limit) noexcept nogil:
    cdef size_t capacity
    cdef void* items
    writes.total += 1
    if writes.total > limit:
        return NULL
    if writes.count == writes.capacity:
        capacity = 2 * writes.capacity + 64
        items = realloc(writes.items, capacity * sizeof(Write)) if not writes.failed else NULL
        if items == NULL:
            writes.failed = True
            return NULL
        writes.items = <Write*>items
        writes.capacity = capacity
    writes.items[writes.count].order = writes.total
    writes.count += 1
    return &writes.items[writes.count - 1]


cdef inline void collect_writes(
    Span results, Py_ssize_t index, Writes* writes, size_t limit
) noexcept nogil:
    """Collect the writes of a TxReadWriteSet that `write_read_write_sets` has accepted."""
    cdef Field[FIELDS] fields
    cdef Span message, collections, space
    while next_repeated(&results, 2, &message):
        read_message(message, fields, NO_FIELD, FIELD_1 | FIELD_2, NO_FIELD, FIELD_3)
        space = fields[1].span
        if space.size == 0:  # the channel's configuration
            continue
        _collect(fields[2].span, 3, space, results, index, writes, limit)
        if not fields[3].present:
            continue
        collections = message
        while next_repeated(&collections, 3, &message):
            read_message(message, fields, NO_FIELD, FIELD_1 | FIELD_2, NO_FIELD, NO_FIELD)
            _collect(fields[2].span, 2, space, fields[1].span, index, writes, limit)


cdef inline void _collect(
    Span message,
    int number,
    Span space,
    Span collection,
    Py_ssize_t index,
    Writes* writes,
    size_t limit,
) noexcept nogil:
    """Collect the fields `number` of a message: KVWrite (3) or KVWriteHash (2).

    Both have the key, the deletion and the value in the fields 1, 2 and 3.
    """
    cdef Field[FIELDS] fields
    cdef Span element
    cdef Write* write
    while next_repeated(&message, number, &element):
        write = _new_write(writes, limit)
        if write == NULL:
            return
        read_message(element, fields, FIELD_2, FIELD_1 | FIELD_3, NO_FIELD, NO_FIELD)
        write.space = space
        write.collection = collection
        if number == 3:
            write.collection.size = 0
        write.key = fields[1].span
        write.value = fields[3].span
        write.is_delete = fields[2].number != 0
        write.index = index
        if (
            write.collection.size
            and not write.is_delete
            and write.value.size == 32
            and memcmp(write.value.data, HASH_OF_EMPTY, 32) == 0
        ):
            writes.needs_reference = True


cdef inline int _compare_spans(const Span* a, const Span* b) noexcept nogil:
    cdef Py_ssize_t size = a.size if a.size < b.size else b.size
    cdef int order = memcmp(a.data, b.data, size) if size else 0
    if order:
        return order
    return (a.size > b.size) - (a.size < b.size)


cdef inline int _compare_keys(const Write* a, const Write* b) noexcept nogil:
    cdef int order = _compare_spans(&a.space, &b.space)
    if order == 0:
        order = _compare_spans(&a.collection, &b.collection)
    return order if order else _compare_spans(&a.key, &b.key)


cdef inline int _compare(const void* first, const void* second) noexcept nogil:
    """Order by namespace, collection, key, and then by the order in the block."""
    cdef int order = _compare_keys(<const Write*>first, <const Write*>second)
    return order if order else _compare_order(first, second)


cdef inline int _compare_order(const void* first, const void* second) noexcept nogil:
    cdef size_t a = (<const Write*>first).order, b = (<const Write*>second).order
    return (a > b) - (a < b)


cdef inline void serialize_changes(Writes* writes, int64_t number, Buffer* buffer) noexcept nogil:
    """Write the message `Updates` of block `number`, unless the reference is needed for it."""
    cdef size_t at
    cdef Write* write
    cdef const Span* space = NULL
    cdef const Span* collection = NULL
    qsort(writes.items, writes.count, sizeof(Write), _compare)
    for at in range(writes.count):
        write = &writes.items[at]
        if at + 1 < writes.count and _compare_keys(write, write + 1) == 0:
            if write.index == write[1].index:  # Fabric has a rule of its own for two writes
                writes.needs_reference = True
                qsort(writes.items, writes.count, sizeof(Write), _compare_order)
                return
            continue  # a later transaction writes the key
        if space == NULL or _compare_spans(space, &write.space):
            space = &write.space
            collection = NULL
            _write_entry(write, number, True, write.collection.size > 0, buffer)
        elif write.collection.size and (
            collection == NULL or _compare_spans(collection, &write.collection)
        ):
            _write_entry(write, number, False, True, buffer)
        else:
            _write_entry(write, number, False, False, buffer)
        if write.collection.size:
            collection = &write.collection


cdef inline void _write_entry(
    const Write* write, int64_t number, bint with_space, bint with_collection, Buffer* buffer
) noexcept nogil:
    """Write a KVWrite, in which proto3 leaves out what is empty."""
    cdef uint8_t[MAX_VERSION_BYTES] encoded
    cdef uint8_t[2] deleted
    cdef bint is_delete = write.is_delete or write.value.size == 0
    cdef Span version
    cdef size_t size
    version.data = encoded
    version.size = _put_number(encoded, number)
    version.size += _put_number(encoded + version.size, write.index)
    size = _field_size(&version) + _field_size(&write.key)
    size += 2 if is_delete else _field_size(&write.value)
    if with_space:
        size += _field_size(&write.space)
    if with_collection:
        size += _field_size(&write.collection)
    _write_head(NAMESPACE_TAG, size, buffer)  # the entries of Updates have the number 1 too
    if with_space:
        _write_field(NAMESPACE_TAG, &write.space, buffer)
    if with_collection:
        _write_field(COLLECTION_TAG, &write.collection, buffer)
    _write_field(KEY_TAG, &write.key, buffer)
    if is_delete:
        deleted[0] = DELETED_TAG
        deleted[1] = 1
        write_bytes(buffer, deleted, 2)
    else:
        _write_field(VALUE_TAG, &write.value, buffer)
    _write_field(VERSION_TAG, &version, buffer)


cdef inline int _put_number(uint8_t* target, uint64_t number) noexcept nogil:
    """Write a number of a version: how many bytes it has, then these, big-endian."""
    cdef int size = 0, at
    cdef uint64_t rest = number
    while rest:
        size += 1
        rest >>= 8
    target[0] = <uint8_t>size
    for at in range(size):
        target[size - at] = <uint8_t>(number >> (8 * at))
    return size + 1


cdef inline size_t _field_size(const Span* content) noexcept nogil:
    cdef size_t size = 1
    cdef Py_ssize_t rest = content.size
    if rest == 0:
        return 0
    while rest:
        size += 1
        rest >>= 7
    return size + content.size


cdef inline void _write_field(uint8_t tag, const Span* content, Buffer* buffer) noexcept nogil:
    if content.size:
        _write_head(tag, content.size, buffer)
        write_bytes(buffer, content.data, content.size)


cdef inline void _write_head(uint8_t tag, size_t size, Buffer* buffer) noexcept nogil:
    """Write a tag, and the size of the field as a varint."""
    cdef uint8_t[11] head
    cdef int count = 1
    head[0] = tag
    while size > 0x7F:
        head[count] = <uint8_t>(size & 0x7F | 0x80)
        size >>= 7
        count += 1
    head[count] = <uint8_t>size
    write_bytes(buffer, head, count + 1)
