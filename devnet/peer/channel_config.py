"""The organisations that a channel's configuration names."""

from google.protobuf.message import DecodeError

from protos.common_pb2 import CONFIG, Block, ChannelHeader, Envelope, Payload
from protos.configuration_pb2 import ConfigEnvelope
from protos.msp_pb2 import FabricMSPConfig, MSPConfig

_FABRIC_MSP = 0


def organisations(config_block: bytes) -> dict[str, list[bytes]]:
    """For each application organisation's MSP id the certificates (PEM) of its authorities, root and intermediate.

    `config_block`: a serialized block with a configuration, such as the genesis block. ValueError if it has none.
    """
    try:
        block = Block.FromString(config_block)
        payload = Payload.FromString(Envelope.FromString(b"".join(block.data.data[:1])).payload)
        if ChannelHeader.FromString(payload.header.channel_header).type != CONFIG:
            raise ValueError(
                f"block {block.header.number} holds no channel configuration; take the genesis block"
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
        raise ValueError(f"the channel configuration does not parse: {error}") from error
    return {msp.name: [*msp.root_certs, *msp.intermediate_certs] for msp in msps}
