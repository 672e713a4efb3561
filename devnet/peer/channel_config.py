"""Reads the organisations from a channel configuration."""

from google.protobuf.message import DecodeError

from protos.common_pb2 import CONFIG, Block, ChannelHeader, Envelope, Payload
from protos.configuration_pb2 import ConfigEnvelope
from protos.msp_pb2 import FabricMSPConfig, MSPConfig

_FABRIC_MSP = 0


def organisations(config_block: bytes) -> dict[str, list[bytes]]:
    """Return the authorities' certificates (PEM) of each application organisation, by MSP id.

    The certificates are those of root and intermediate authorities. `config_block` is a serialized
    block with a configuration, for example the genesis block. Raises ValueError if the block has no
    configuration.
    """
    try:
        block = Block.FromString(config_block)
        payload = Payload.FromString(Envelope.FromString(b"".join(block.data.data[:1])).payload)
        if ChannelHeader.FromString(payload.header.channel_header).type != CONFIG:
            raise ValueError(
                f"block {block.header.number} has no channel configuration; use the genesis block"
            )
        channel = ConfigEnvelope.FromString(payload.data).config.channel_group
        definitions = [
            MSPConfig.FromString(group.values["MSP"].value)
            for group in channel.groups["Application"].groups.values()
        ]
        msps = [
            FabricMSPConfig.FromString(msp.config) for msp in definitions if msp.type == _FABRIC_MSP
        ]
    except DecodeError as error:
        raise ValueError(f"the channel configuration cannot be parsed: {error}") from error
    return {msp.name: [*msp.root_certs, *msp.intermediate_certs] for msp in msps}
