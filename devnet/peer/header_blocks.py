"""Blocks without their envelopes, for clients that ask for `HEADER_WITH_SIG`.

The rule is that of `common/deliver` in Fabric from 3.0 on: a block keeps its header and its
metadata, and only a configuration block keeps its envelope too.
"""

from google.protobuf.message import DecodeError

from protos.common_pb2 import CONFIG, Block, ChannelHeader, Envelope, Payload


def without_envelopes(serialized: bytes) -> bytes:
    """Return the block without its envelopes.

    A configuration block, and bytes that are no block, are returned unchanged.
    """
    try:
        block = Block.FromString(serialized)
    except DecodeError:
        return serialized
    if _is_config(block):
        return serialized
    block.ClearField("data")
    return block.SerializeToString()


def _is_config(block: Block) -> bool:
    """Return whether the block has one envelope, and this envelope is a channel configuration."""
    if len(block.data.data) != 1:
        return False
    try:
        payload = Payload.FromString(Envelope.FromString(block.data.data[0]).payload)
        return ChannelHeader.FromString(payload.header.channel_header).type == CONFIG
    except DecodeError:
        return False
