"""Finds the parts of an envelope in the common form: one action of an endorser transaction."""

from libc.stdint cimport uint64_t

from ledger.compiled.wire cimport (
    FIELD_1,
    FIELD_2,
    FIELD_3,
    FIELD_4,
    FIELD_5,
    FIELD_6,
    FIELD_7,
    FIELD_8,
    FIELDS,
    NO_FIELD,
    Field,
    Span,
    next_repeated,
    read_message,
)

cdef struct Headers:
    Field channel[FIELDS]  # ChannelHeader
    Field timestamp[FIELDS]
    Span signature_header
    Span data  # the payload's data

cdef struct Action:
    Span creator
    Span input  # ChaincodeInput
    bint is_init
    Span endorsed  # ChaincodeEndorsedAction, which has the endorsements
    Span results
    Span events
    bint has_response
    Field response[FIELDS]
    Field chaincode[FIELDS]  # ChaincodeID


cdef inline bint read_headers(Span envelope, Headers* headers) noexcept nogil:
    """Find the headers of an envelope."""
    cdef Field[FIELDS] fields
    if not read_message(envelope, fields, NO_FIELD, FIELD_1 | FIELD_2, NO_FIELD, NO_FIELD):
        return False
    if not read_message(fields[1].span, fields, NO_FIELD, FIELD_1 | FIELD_2, NO_FIELD, NO_FIELD):
        return False
    headers.data = fields[2].span
    if not fields[1].present:
        return False
    if not read_message(fields[1].span, fields, NO_FIELD, FIELD_1 | FIELD_2, NO_FIELD, NO_FIELD):
        return False
    headers.signature_header = fields[2].span
    return read_message(
        fields[1].span,
        headers.channel,
        FIELD_1 | FIELD_2 | FIELD_6,
        FIELD_3 | FIELD_7 | FIELD_8,
        FIELD_4 | FIELD_5,
        NO_FIELD,
    ) and read_message(
        headers.channel[3].span, headers.timestamp, FIELD_1 | FIELD_2, NO_FIELD, NO_FIELD, NO_FIELD
    )


cdef inline bint read_action(Headers* headers, Action* action) noexcept nogil:
    """Find the parts of the only action of an endorser transaction."""
    cdef Field[FIELDS] fields
    cdef Span rest = headers.data
    cdef Span only, more
    if not read_message(
        headers.signature_header, fields, NO_FIELD, FIELD_1 | FIELD_2, NO_FIELD, NO_FIELD
    ):
        return False
    action.creator = fields[1].span
    if not read_message(rest, fields, NO_FIELD, NO_FIELD, NO_FIELD, FIELD_1):
        return False
    if not next_repeated(&rest, 1, &only) or next_repeated(&rest, 1, &more):
        return False
    if not read_message(only, fields, NO_FIELD, FIELD_1 | FIELD_2, NO_FIELD, NO_FIELD):
        return False
    # ChaincodeActionPayload
    if not read_message(fields[2].span, fields, NO_FIELD, FIELD_1 | FIELD_2, NO_FIELD, NO_FIELD):
        return False
    action.endorsed = fields[2].span
    return _read_input(fields[1].span, action) and _read_result(action)


cdef inline bint _read_input(Span proposal, Action* action) noexcept nogil:
    """Find the chaincode's input in a ChaincodeProposalPayload."""
    cdef Field[FIELDS] fields
    cdef Field[FIELDS] chaincode
    if not read_message(proposal, fields, NO_FIELD, FIELD_1, NO_FIELD, FIELD_2):
        return False
    if fields[2].present:  # the transient map, which a ledger never has
        return False
    # ChaincodeInvocationSpec and ChaincodeSpec
    if not read_message(fields[1].span, fields, NO_FIELD, FIELD_1, NO_FIELD, NO_FIELD):
        return False
    if not read_message(
        fields[1].span, fields, FIELD_1 | FIELD_4, FIELD_2 | FIELD_3, NO_FIELD, NO_FIELD
    ):
        return False
    action.input = fields[3].span
    if not _read_chaincode(fields[2].span, chaincode):
        return False
    if not read_message(action.input, fields, FIELD_3, NO_FIELD, NO_FIELD, FIELD_1 | FIELD_2):
        return False
    action.is_init = fields[3].number != 0
    return not fields[2].present  # decorations, which peers add for chaincodes only


cdef inline bint _read_result(Action* action) noexcept nogil:
    """Find the parts of the ChaincodeAction, which the endorsers signed."""
    cdef Field[FIELDS] fields
    if not read_message(action.endorsed, fields, NO_FIELD, FIELD_1, NO_FIELD, FIELD_2):
        return False
    # ProposalResponsePayload and ChaincodeAction
    if not read_message(fields[1].span, fields, NO_FIELD, FIELD_1 | FIELD_2, NO_FIELD, NO_FIELD):
        return False
    if not read_message(
        fields[2].span,
        fields,
        NO_FIELD,
        FIELD_1 | FIELD_2 | FIELD_3 | FIELD_4,
        NO_FIELD,
        NO_FIELD,
    ):
        return False
    action.results = fields[1].span
    action.events = fields[2].span
    action.has_response = fields[3].present
    return read_message(
        fields[3].span, action.response, FIELD_1, FIELD_3, FIELD_2, NO_FIELD
    ) and _read_chaincode(fields[4].span, action.chaincode)


cdef inline bint _read_chaincode(Span message, Field* chaincode) noexcept nogil:
    """Read a ChaincodeID: path, name and version."""
    return read_message(message, chaincode, NO_FIELD, NO_FIELD, FIELD_1 | FIELD_2 | FIELD_3, NO_FIELD)
