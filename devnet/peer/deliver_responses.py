"""Serialized `DeliverResponse` messages, made without parsing their block."""

from devnet import wire_format
from protos.common_pb2 import Status
from protos.events_pb2 import DeliverResponse


def block_response(block: bytes) -> bytes:
    """Return the response with a serialized `common.Block`, which may be any bytes."""
    return wire_format.field(DeliverResponse.BLOCK_FIELD_NUMBER, block)


def status_response(status: Status.ValueType) -> bytes:
    """Return the response with a status, which ends a sequence of blocks."""
    return DeliverResponse(status=status).SerializeToString()
