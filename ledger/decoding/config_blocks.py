"""Tells the blocks that configure a channel from all other blocks."""

from ledger.decoding.blocks import UndecodedBlock
from ledger.decoding.transactions import decode_header_type
from ledger.model import VALID
from protos.common_pb2 import CONFIG


def is_config_block(block: UndecodedBlock) -> bool:
    """Return whether the block configures the channel; orderers put nothing else into such a block.

    The genesis block's envelope is VALID, too.
    """
    return (
        len(block.envelopes) == 1
        and block.codes[0] == VALID
        and decode_header_type(block.envelopes[0]) == CONFIG
    )
