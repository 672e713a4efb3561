# cython: language_level=3
"""Splits blocks and writes the documents of envelopes that have the common form."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from ledger.compiled.bson cimport (
    ARRAY,
    DOCUMENT,
    Buffer,
    Decimal,
    begin,
    begin_field,
    end,
    name,
    position_name,
    put_bool,
    put_document,
    put_hex,
    put_int,
    put_text,
    write_bytes,
)
from ledger.compiled.envelopes cimport Action, Headers, read_action, read_headers
from ledger.compiled.identities cimport (
    KEPT_TABLE_BYTES,
    MAX_TABLE_BYTES,
    Identity,
    IdentityTable,
    add_identity,
    clear_identities,
    find_identity,
)
from ledger.compiled.json cimport MAX_DEPTH, has_few_commas, write_value
from ledger.compiled.read_write_sets cimport write_read_write_sets
from ledger.compiled.state_changes cimport (
    Write,
    Writes,
    clear_writes,
    collect_writes,
    serialize_changes,
)
from ledger.compiled.transaction_fields cimport (
    MAX_ITEMS,
    Envelope,
    set_facts,
    write_arguments,
    write_position,
    write_response,
    write_timestamp,
    write_ts,
)
from ledger.compiled.utf8 cimport is_utf8
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

cdef enum:
    ENDORSER_TRANSACTION = 3
    VALID = 0
    MAX_ENVELOPE_BYTES = 1 << 20  # so that no document comes near MongoDB's limit
    MAX_IDENTITY_BYTES = 8192
    MAX_ID_BYTES = 1 << 16
    KEPT_BYTES = 16 << 20
    KEPT_WRITES = 1 << 16

cdef inline Span span_of(bytes data) except *:
    cdef Span span
    if data is None:
        raise TypeError("bytes are needed, not None")
    span.data = <const uint8_t*>PyBytes_AS_STRING(data)
    span.size = PyBytes_GET_SIZE(data)
    return span


cdef inline bytes bytes_of(Span span):
    return PyBytes_FromStringAndSize(<const char*>span.data, span.size)


cdef inline str text_of(Span span):
    return PyUnicode_DecodeUTF8(<const char*>span.data, span.size, NULL)


def split_block(const uint8_t[::1] data):
    """Return the parts of a serialized `common.Block`, or None if it is not in the common form.

    The parts are the number, the previous hash, the data hash, the envelopes, the metadata.
    """
    cdef Field[FIELDS] block
    cdef Field[FIELDS] header
    cdef Field[FIELDS] repeated
    cdef Span message
    message.data = &data[0] if data.shape[0] else NULL
    message.size = data.shape[0]
    if not read_message(message, block, NO_FIELD, FIELD_1 | FIELD_2 | FIELD_3, NO_FIELD, NO_FIELD):
        return None
    if not block[1].present:
        return None
    if not read_message(block[1].span, header, FIELD_1, FIELD_2 | FIELD_3, NO_FIELD, NO_FIELD):
        return None
    if not read_message(block[2].span, repeated, NO_FIELD, NO_FIELD, NO_FIELD, FIELD_1):
        return None
    if not read_message(block[3].span, repeated, NO_FIELD, NO_FIELD, NO_FIELD, FIELD_1):
        return None
    return (
        header[1].number,
        bytes_of(header[2].span),
        bytes_of(header[3].span),
        _repeated(block[2].span),
        _repeated(block[3].span),
    )


cdef tuple _repeated(Span message):
    cdef Span span
    cdef list parts = []
    while next_repeated(&message, 1, &span):
        parts.append(bytes_of(span))
    return tuple(parts)


def claimed_ids(bytes envelope):
    """Return the transaction id and the channel id that an envelope's channel header claims.

    Return None if the envelope is not in the common form.
    """
    cdef Headers headers
    if not read_headers(span_of(envelope), &headers):
        return None
    return text_of(headers.channel[5].span), text_of(headers.channel[4].span)


cdef class TransactionEncoder:
    """Writes the documents of envelopes. It must be used by one thread at a time.

    `statuses` are the 256 names of validation codes in UTF-8, `type_name` the name of the type of
    endorser transactions. `identity` returns the MSP id and the encoded document of a serialized
    identity, or None if it cannot be decoded; `payload` returns the encoded document with the
    fields of an event's payload. `hash_key` has 16 secret bytes.
    """

    cdef Buffer _transactions
    cdef Buffer _events
    cdef Buffer _updates
    cdef Writes _writes
    cdef size_t _max_writes
    cdef IdentityTable _identities
    cdef Span _statuses[256]
    cdef list _status_names
    cdef list _organisations
    cdef dict _organisation_indexes
    cdef bytes _type_name
    cdef Span _type
    cdef int64_t _format
    cdef object _identity
    cdef object _payload
    cdef bint _busy
    cdef bint _in_reference

    def __cinit__(self):
        memset(&self._transactions, 0, sizeof(Buffer))
        memset(&self._events, 0, sizeof(Buffer))
        memset(&self._updates, 0, sizeof(Buffer))
        memset(&self._writes, 0, sizeof(Writes))
        memset(&self._identities, 0, sizeof(IdentityTable))

    def __init__(
        self,
        *,
        list statuses,
        bytes type_name,
        int64_t format,
        size_t max_writes,
        identity,
        payload,
        bytes hash_key,
    ):
        if len(statuses) != 256 or len(hash_key) != sizeof(self._identities.key):
            raise ValueError("256 statuses and a key of 16 bytes are needed")
        self._status_names = list(statuses)
        for index in range(256):
            self._statuses[index] = span_of(self._status_names[index])
        self._type_name = type_name
        self._type = span_of(type_name)
        self._format, self._max_writes = format, max_writes
        self._identity, self._payload = identity, payload
        memcpy(self._identities.key, PyBytes_AS_STRING(hash_key), sizeof(self._identities.key))
        self._organisations, self._organisation_indexes = [], {}

    def __dealloc__(self):
        free(self._transactions.data)
        free(self._events.data)
        free(self._updates.data)
        clear_writes(&self._writes, 0)
        clear_identities(&self._identities)

    def encode(self, int64_t number, tuple envelopes, bytes codes, list owns, bytes digests, reference):
        """Return the documents of the envelopes of block `number`, and facts for the block.

        `owns` tells for each envelope whether it owns its id; `digests` has the joined SHA-256 of
        the envelopes. `reference(index)` returns the encoded documents of an envelope that is not
        in the common form: of its transaction, and of its event or None. The result is a tuple: the
        joined transactions, the joined events, the number of events, for the envelopes in the
        common form the chaincodes, the MSP ids of the creators, and the times that are known, and
        the serialized changes of the state. In place of these stands a list of writes, see
        `take_writes`, if the reference must make the changes, and None if there are too many.
        """
        cdef Py_ssize_t index, count = len(envelopes)
        if not len(codes) == len(owns) == count or len(digests) != 32 * count:
            raise ValueError("each envelope needs a code, an owner and a digest")
        if self._busy:
            raise RuntimeError("the encoder is used by another thread")
        cdef const uint8_t* digest = span_of(digests).data
        cdef Envelope* parts = <Envelope*>calloc(max(count, 1), sizeof(Envelope))
        if parts == NULL:
            raise MemoryError
        self._busy = True
        try:
            for index in range(count):
                parts[index].data = span_of(envelopes[index])
                parts[index].code = codes[index]
                parts[index].owns_id = owns[index]
                parts[index].digest = digest + 32 * index
            self._begin()
            with nogil:
                self._write_all(number, parts, count, reference)
                if not self._writes.needs_reference:
                    serialize_changes(&self._writes, number, &self._updates)
            return self._result(parts, count)
        finally:
            self._busy = False
            self._release_large_buffers()
            free(parts)

    cdef int _begin(self) except -1:
        self._transactions.size = self._events.size = self._updates.size = 0
        if self._identities.size >= KEPT_TABLE_BYTES:
            clear_identities(&self._identities)
            self._organisations, self._organisation_indexes = [], {}
        return 0

    cdef int _release_large_buffers(self) except -1:
        _release_if_large(&self._transactions)
        _release_if_large(&self._events)
        _release_if_large(&self._updates)
        clear_writes(&self._writes, KEPT_WRITES)
        return 0

    def take_writes(self):
        """Return the writes of VALID envelopes that were collected since the last call.

        A write is a tuple: the index of the envelope, the namespace, the collection, the key,
        whether it is a deletion, and the value. From then on the changes of the block are left to
        the caller. Raises RuntimeError outside a call of `reference`.
        """
        if not self._in_reference:
            raise RuntimeError("writes can be taken by the function `reference` only")
        self._writes.needs_reference = True
        return self._take_writes()

    cdef list _take_writes(self):
        cdef size_t at
        cdef Write* write
        cdef list taken = []
        for at in range(self._writes.count):
            write = &self._writes.items[at]
            taken.append((
                write.index,
                text_of(write.space),
                text_of(write.collection),
                bytes_of(write.key),
                bool(write.is_delete),
                bytes_of(write.value),
            ))
        self._writes.count = 0
        return taken

    cdef object _changes(self):
        if self._writes.total > self._max_writes:
            return None
        if self._writes.needs_reference:
            return self._take_writes()
        return PyBytes_FromStringAndSize(<const char*>self._updates.data, self._updates.size)

    cdef tuple _result(self, const Envelope* parts, Py_ssize_t count):
        cdef list chaincodes = [], organisations = [], times = []
        cdef Py_ssize_t events = 0, index
        if self._transactions.failed or self._events.failed or self._updates.failed:
            raise MemoryError
        if self._writes.failed:
            raise MemoryError
        for index in range(count):
            events += parts[index].has_event
            if not parts[index].in_common_form:
                continue
            chaincodes.append(text_of(parts[index].chaincode))
            organisations.append(self._organisations[parts[index].organisation])
            if parts[index].has_ts:
                times.append(parts[index].ts)
        return (
            PyBytes_FromStringAndSize(<const char*>self._transactions.data, self._transactions.size),
            PyBytes_FromStringAndSize(<const char*>self._events.data, self._events.size),
            events,
            chaincodes,
            organisations,
            times,
            self._changes(),
        )

    cdef int _write_all(
        self, int64_t number, Envelope* parts, Py_ssize_t count, object reference
    ) except -1 nogil:
        cdef size_t transactions_size, events_size
        cdef Py_ssize_t index
        for index in range(count):
            transactions_size = self._transactions.size
            events_size = self._events.size
            if self._write_envelope(number, index, &parts[index]):
                parts[index].in_common_form = True
                continue
            self._transactions.size = transactions_size
            self._events.size = events_size
            self._write_reference(index, &parts[index], reference)
        return 0

    cdef int _write_reference(self, Py_ssize_t index, Envelope* envelope, object reference) except -1 with gil:
        """Write the documents that the reference gives."""
        self._in_reference = True
        try:
            transaction, event = reference(index)
        finally:
            self._in_reference = False
        self._append(&self._transactions, transaction)
        envelope.has_event = event is not None
        if event is not None:
            self._append(&self._events, event)
        return 0

    cdef int _append(self, Buffer* buffer, bytes encoded) except -1:
        cdef Span span = span_of(encoded)
        write_bytes(buffer, span.data, span.size)
        return 0

    cdef int _write_envelope(
        self, int64_t number, Py_ssize_t index, Envelope* envelope
    ) except -1 nogil:
        """Write the documents of an envelope; return 0 if it is not in the common form."""
        cdef Headers headers
        cdef Action action
        if envelope.data.size > MAX_ENVELOPE_BYTES or not read_headers(envelope.data, &headers):
            return 0
        if headers.channel[1].number != ENDORSER_TRANSACTION:
            return 0
        if headers.channel[5].span.size > MAX_ID_BYTES:
            return 0
        if not read_action(&headers, &action) or not set_facts(&headers, &action, envelope):
            return 0
        return self._write_transaction(number, index, envelope, &headers, &action)

    cdef int _write_transaction(
        self, int64_t number, Py_ssize_t index, Envelope* envelope, Headers* headers, Action* action
    ) except -1 nogil:
        cdef Buffer* buffer = &self._transactions
        cdef Field[FIELDS] event
        cdef Identity* creator = self._resolve(action.creator)
        cdef Span tx_id = headers.channel[5].span
        cdef Span digest
        cdef size_t start, inner
        if creator == NULL:
            return 0
        envelope.organisation = creator.organisation
        envelope.has_event = envelope.code == VALID and action.events.size > 0
        start = begin(buffer)
        write_position(buffer, number, index, envelope, tx_id)
        put_text(buffer, name("status"), self._statuses[envelope.code])
        put_int(buffer, name("validationCode"), envelope.code)
        put_text(buffer, name("chaincodeId"), envelope.chaincode)
        put_int(buffer, name("blockNumber"), number)
        put_int(buffer, name("txIndex"), index)
        put_text(buffer, name("type"), self._type)
        write_ts(buffer, envelope)
        write_timestamp(buffer, headers)
        put_document(buffer, name("creator"), creator.document)
        if not envelope.owns_id:
            put_text(buffer, name("claimedTxId"), tx_id)
        put_text(buffer, name("chaincodeVersion"), action.chaincode[3].span)
        if not self._write_endorsers(buffer, action.endorsed):
            return 0
        if not write_arguments(buffer, action.input):
            return 0
        write_response(buffer, action)
        if not write_read_write_sets(action.results, buffer):
            return 0
        if action.is_init:
            put_bool(buffer, name("isInit"), True)
        if action.events.size:
            if not read_message(
                action.events, event, NO_FIELD, FIELD_4, FIELD_1 | FIELD_2 | FIELD_3, NO_FIELD
            ):
                return 0
            if envelope.has_event:
                self._write_event(number, index, envelope, tx_id, event)
            else:
                inner = begin_field(buffer, DOCUMENT, name("event"))
                self._write_event_fields(buffer, event)
                end(buffer, inner)
        digest.data = envelope.digest
        digest.size = 32
        put_hex(buffer, name("envelopeHash"), digest)
        put_int(buffer, name("envelopeSize"), envelope.data.size)
        put_int(buffer, name("format"), self._format)
        end(buffer, start)
        if envelope.code == VALID:
            collect_writes(action.results, index, &self._writes, self._max_writes)
        return 1

    cdef int _write_event(
        self, int64_t number, Py_ssize_t index, Envelope* envelope, Span tx_id, const Field* event
    ) except -1 nogil:
        """Write the document of a ChaincodeEvent."""
        cdef Buffer* buffer = &self._events
        cdef size_t start = begin(buffer)
        write_position(buffer, number, index, envelope, tx_id)
        self._write_event_fields(buffer, event)
        put_int(buffer, name("blockNumber"), number)
        put_int(buffer, name("txIndex"), index)
        write_ts(buffer, envelope)
        put_int(buffer, name("format"), self._format)
        end(buffer, start)
        return 0

    cdef int _write_event_fields(self, Buffer* buffer, const Field* event) except -1 nogil:
        """Write the fields of a ChaincodeEvent and of its payload."""
        cdef Span rest = event[4].span
        cdef size_t size
        put_text(buffer, name("chaincodeId"), event[1].span)
        put_text(buffer, name("eventName"), event[3].span)
        size = buffer.size
        if (
            rest.size <= MAX_ENVELOPE_BYTES
            and is_utf8(rest.data, rest.size)
            and rest.size
            and rest.data[0] in (c"{", c"[")
            and has_few_commas(rest)
            and write_value(&rest, buffer, name("payload"), MAX_DEPTH)
            and rest.size == 0
        ):
            put_text(buffer, name("payloadEncoding"), name("json"))
            return 0
        buffer.size = size
        return self._write_other_payload(buffer, event[4].span)

    cdef int _write_other_payload(self, Buffer* buffer, Span payload) except -1 with gil:
        """Write the fields of a payload as the reference gives them."""
        encoded = self._payload(bytes_of(payload))
        cdef Span document = span_of(encoded)
        if document.size < 5:
            raise ValueError("an encoded document has at least 5 bytes")
        write_bytes(buffer, document.data + 4, document.size - 5)
        return 0

    cdef int _write_endorsers(self, Buffer* buffer, Span endorsed) except -1 nogil:
        """Write the field `endorsers` from the endorsements of a ChaincodeEndorsedAction."""
        cdef Field[FIELDS] fields
        cdef Decimal decimal
        cdef Identity* identity
        cdef Span endorsement
        cdef int index = 0
        cdef size_t start = begin_field(buffer, ARRAY, name("endorsers"))
        while next_repeated(&endorsed, 2, &endorsement):
            if index >= MAX_ITEMS or not read_message(
                endorsement, fields, NO_FIELD, FIELD_1 | FIELD_2, NO_FIELD, NO_FIELD
            ):
                return 0
            identity = self._resolve(fields[1].span)
            if identity == NULL:
                return 0
            put_document(buffer, position_name(&decimal, index), identity.document)
            index += 1
        end(buffer, start)
        return 1

    cdef Identity* _resolve(self, Span serialized) except? NULL nogil:
        """Return an identity with its document; NULL if the reference must decide about it."""
        cdef Identity* identity
        if not 0 < serialized.size <= MAX_IDENTITY_BYTES:
            return NULL
        identity = find_identity(&self._identities, serialized)
        if identity == NULL and self._identities.size < MAX_TABLE_BYTES:
            identity = self._decode_identity(serialized)
        return identity

    cdef Identity* _decode_identity(self, Span serialized) except? NULL with gil:
        decoded = self._identity(bytes_of(serialized))
        if decoded is None:
            return NULL
        msp_id, document = decoded
        index = self._organisation_indexes.get(msp_id)
        if index is None:
            index = self._organisation_indexes[msp_id] = len(self._organisations)
            self._organisations.append(msp_id)
        cdef Identity* identity = add_identity(
            &self._identities, serialized, span_of(document), index
        )
        if identity == NULL:
            raise MemoryError
        return identity


cdef void _release_if_large(Buffer* buffer) noexcept nogil:
    if buffer.capacity > KEPT_BYTES or buffer.failed:
        free(buffer.data)
        memset(buffer, 0, sizeof(Buffer))
