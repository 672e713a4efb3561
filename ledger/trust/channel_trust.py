"""What a channel configuration says about trust: organisations, policies, consenters."""

from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from ledger.trust.limits import MAX_CHANNEL_CERTIFICATES
from ledger.trust.msp import Msp, MspVersion, certificate_count, set_up_msp
from ledger.trust.policies import ChannelPolicies
from ledger.trust.signers import Msps
from protos.common_pb2 import CONFIG, ChannelHeader, Envelope, Payload
from protos.configuration_pb2 import Capabilities, ConfigEnvelope, ConfigGroup, Orderers
from protos.msp_pb2 import FabricMSPConfig, MSPConfig, SerializedIdentity
from protos.orderer_pb2 import ConsensusType

M = TypeVar("M", bound=Message)

_FABRIC, _IDEMIX = 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class ChannelTrust:
    """The trust that a CONFIG block establishes, for the blocks after it up to the next one.

    `msps`: by MSP id; a text says why an MSP cannot be used here. `organisations`: the names of the
    application organisations' groups, by MSP id. `consenters`: the serialized identities of
    SmartBFT's orderers, by their numbers. `consensus_type`: etcdraft, BFT, or as the configuration
    says.
    """

    channel: str
    msps: Msps
    policies: ChannelPolicies
    organisations: dict[str, str]
    consenters: dict[int, bytes]
    consensus_type: str
    channel_capabilities: frozenset[str]
    application_capabilities: frozenset[str]

    @property
    def names_signers_by_number(self) -> bool:
        """Whether orderers may sign blocks with their number alone, as SmartBFT's do."""
        return "V3_0" in self.channel_capabilities

    @property
    def validates_by_namespace(self) -> bool:
        """Whether peers validate by the rules of Fabric 2: each written namespace has a policy."""
        return not self.application_capabilities.isdisjoint({"V2_0", "V2_5"})


def from_config_envelope(envelope: bytes) -> ChannelTrust | str:
    """Return the trust that a serialized CONFIG envelope establishes, or why it has none.

    It is the caller's task to call this with envelopes that the chain makes trustworthy: the one of
    the genesis block or of a configured anchor, then the VALID ones of verified blocks.
    """
    try:
        payload = Payload.FromString(Envelope.FromString(envelope).payload)
        header = ChannelHeader.FromString(payload.header.channel_header)
        if header.type != CONFIG:
            return f"the envelope has the type {header.type}, not {CONFIG} (CONFIG)"
        config = ConfigEnvelope.FromString(payload.data).config
    except DecodeError:
        return "the configuration cannot be parsed, or it nests too many groups"
    if not config.HasField("channel_group"):
        return "the envelope has no channel configuration"
    return _trust(header.channel_id, config.channel_group)


def _trust(channel: str, root: ConfigGroup) -> ChannelTrust:
    ordering, application = _child(root, "Orderer"), _child(root, "Application")
    capabilities = _capabilities(root)
    msps, names = _msps(ordering, application, _msp_version(capabilities))
    return ChannelTrust(
        channel=channel,
        msps=msps,
        policies=ChannelPolicies(root),
        organisations=names,
        consenters=_consenters(ordering),
        consensus_type=_value(ordering, "ConsensusType", ConsensusType()).type,
        channel_capabilities=capabilities,
        application_capabilities=_capabilities(application),
    )


def _msps(
    ordering: ConfigGroup, application: ConfigGroup, version: MspVersion
) -> tuple[Msps, dict[str, str]]:
    """Return the MSPs of all organisations, and the application organisations' names."""
    definitions: dict[str, bytes] = {}
    msps: dict[str, Msp | str] = {}
    names: dict[str, str] = {}
    certificates = 0
    for section in (ordering, application):
        for name, organisation in sorted(section.groups.items()):
            definition = _value(organisation, "MSP", MSPConfig())
            try:
                # An MSP of Idemix has its name in the same field.
                config = FabricMSPConfig.FromString(definition.config)
            except DecodeError:
                continue
            certificates += certificate_count(config)
            if section is application:
                names.setdefault(config.name, name)
            if definitions.setdefault(config.name, definition.config) != definition.config:
                msps[config.name] = "the configuration defines it twice, differently"
            elif certificates > MAX_CHANNEL_CERTIFICATES:
                msps[config.name] = f"the channel has over {MAX_CHANNEL_CERTIFICATES} certificates"
            elif definition.type == _FABRIC:
                msps[config.name] = set_up_msp(definition.config, version)
            else:
                kind = "Idemix" if definition.type == _IDEMIX else f"type {definition.type}"
                msps[config.name] = f"it is an MSP of {kind}"
    return msps, names


def _msp_version(capabilities: frozenset[str]) -> MspVersion:
    """Return the version of the MSPs, as `MSPVersion` in `common/capabilities/channel.go`."""
    for names, version in (
        ({"V3_0"}, MspVersion.V3_0),
        ({"V1_4_3", "V2_0"}, MspVersion.V1_4_3),
        ({"V1_3", "V1_4_2"}, MspVersion.V1_3),
        ({"V1_1"}, MspVersion.V1_1),
    ):
        if not capabilities.isdisjoint(names):
            return version
    return MspVersion.V1_0


def _consenters(ordering: ConfigGroup) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for consenter in _value(ordering, "Orderers", Orderers()).consenter_mapping:
        identity = SerializedIdentity(mspid=consenter.msp_id, id_bytes=consenter.identity)
        found.setdefault(consenter.id, identity.SerializeToString())
    return found


def _capabilities(group: ConfigGroup) -> frozenset[str]:
    return frozenset(_value(group, "Capabilities", Capabilities()).capabilities)


def _child(group: ConfigGroup, name: str) -> ConfigGroup:
    return group.groups[name] if name in group.groups else ConfigGroup()


def _value(group: ConfigGroup, name: str, empty: M) -> M:
    """Return the value of a group, or `empty` if the value is absent or cannot be parsed."""
    if name not in group.values:
        return empty
    try:
        return type(empty).FromString(group.values[name].value)
    except DecodeError:
        return empty
