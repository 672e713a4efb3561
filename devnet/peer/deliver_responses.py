"""Serialized `DeliverResponse` messages, made without parsing their block."""

from protos.common_pb2 import Status
from protos.events_pb2 import DeliverResponse

_LENGTH_DELIMITED = 2
_BLOCK_TAG = bytes((DeliverResponse.BLOCK_FIELD_NUMBER << 3 | _LENGTH_DELIMITED,))


def block_response(block: bytes) -> bytes:
    """Return the response with a serialized `common.Block`, which may be any bytes."""
    return b"".join((_BLOCK_TAG, _varint(len(block)), block))


def status_response(status: Status.ValueType) -> bytes:
    """Return the response with a status, which ends a sequence of blocks."""
    return DeliverResponse(status=status).SerializeToString()


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
