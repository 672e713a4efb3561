"""The initial channel configuration and the genesis envelope, as `configtxgen` makes them.

Groups, values, policies and versions are those of a real channel with the etcdraft profile.
"""

from hashlib import sha256

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from devnet.forge.identities import CertificateAuthority
from devnet.forge.network import Network, OrderingOrganisation, Organisation
from devnet.forge.random_stream import RandomStream
from protos.common_pb2 import CONFIG, ChannelHeader, Envelope, Header, Payload, SignatureHeader
from protos.configuration_pb2 import (
    BlockDataHashingStructure,
    Capabilities,
    Capability,
    Config,
    ConfigEnvelope,
    ConfigGroup,
    ConfigValue,
    HashingAlgorithm,
    ImplicitMetaPolicy,
    MSPPrincipal,
    MSPRole,
    OrdererAddresses,
    Policy,
    SignaturePolicy,
    SignaturePolicyEnvelope,
)
from protos.etcdraft_pb2 import ConfigMetadata, Consenter, Options
from protos.msp_pb2 import (
    FabricCryptoConfig,
    FabricMSPConfig,
    FabricNodeOUs,
    FabricOUIdentifier,
    MSPConfig,
)
from protos.orderer_pb2 import BatchSize, BatchTimeout, ConsensusType

ADMINS = "Admins"

_ANY = ImplicitMetaPolicy.ANY
_MAJORITY = ImplicitMetaPolicy.MAJORITY


def genesis_envelope(network: Network, config: Config, seconds: int) -> bytes:
    """Return the only envelope of block 0: unsigned, without a creator, with a transaction id."""
    nonce = RandomStream(f"{network.seed}/{network.channel}/genesis").nonce()
    header = Header(
        channel_header=ChannelHeader(
            type=CONFIG,
            version=1,
            timestamp=Timestamp(seconds=seconds),
            channel_id=network.channel,
            tx_id=sha256(nonce).hexdigest(),
        ).SerializeToString(),
        signature_header=SignatureHeader(nonce=nonce).SerializeToString(),
    )
    payload = Payload(header=header, data=serialize(ConfigEnvelope(config=config)))
    return Envelope(payload=payload.SerializeToString()).SerializeToString()


def serialize(message: Message) -> bytes:
    """Return the bytes of a message, equal in every process: maps are sorted by key."""
    return message.SerializeToString(deterministic=True)


def channel_group(network: Network) -> ConfigGroup:
    """Return the root of the configuration tree of a new channel."""
    group = _group(
        {"Readers": (_ANY, "Readers"), "Writers": (_ANY, "Writers"), ADMINS: (_MAJORITY, ADMINS)}
    )
    set_value(group, "HashingAlgorithm", HashingAlgorithm(name="SHA256"))
    set_value(group, "BlockDataHashingStructure", BlockDataHashingStructure(width=2**32 - 1))
    set_value(group, "Capabilities", _capabilities("V2_0"))
    group.groups["Orderer"].CopyFrom(_orderer_group(network.ordering))
    group.groups["Application"].CopyFrom(_application_group(network))
    return group


def organisation_group(organisation: Organisation) -> ConfigGroup:
    """Return the group of an application organisation: its policies and its MSP."""
    group = ConfigGroup(mod_policy=ADMINS)
    for name, roles in {
        "Readers": (MSPRole.ADMIN, MSPRole.PEER, MSPRole.CLIENT),
        "Writers": (MSPRole.ADMIN, MSPRole.CLIENT),
        ADMINS: (MSPRole.ADMIN,),
        "Endorsement": (MSPRole.PEER,),
    }.items():
        _set_signature_policy(
            group, name, [MSPRole(msp_identifier=organisation.mspid, role=role) for role in roles]
        )
    msp = _msp(organisation.mspid, organisation.authority, organisation.tls_authority)
    set_value(group, "MSP", msp)
    return group


def set_value(group: ConfigGroup, name: str, value: Message, version: int = 0) -> None:
    """Set a value that the administrators of the group may change."""
    group.values[name].CopyFrom(
        ConfigValue(version=version, value=serialize(value), mod_policy=ADMINS)
    )


def signature_policy(n: int, roles: list[MSPRole]) -> SignaturePolicyEnvelope:
    """Return the policy that asks for `n` signatures out of one for each of `roles`."""
    rules = [SignaturePolicy(signed_by=index) for index in range(len(roles))]
    return SignaturePolicyEnvelope(
        rule=SignaturePolicy(n_out_of=SignaturePolicy.NOutOf(n=n, rules=rules)),
        identities=[MSPPrincipal(principal=role.SerializeToString()) for role in roles],
    )


def _application_group(network: Network) -> ConfigGroup:
    group = _group(
        {
            "Readers": (_ANY, "Readers"),
            "Writers": (_ANY, "Writers"),
            ADMINS: (_MAJORITY, ADMINS),
            "Endorsement": (_MAJORITY, "Endorsement"),
            "LifecycleEndorsement": (_MAJORITY, "Endorsement"),
        }
    )
    set_value(group, "Capabilities", _capabilities("V2_5"))
    for organisation in network.organisations:
        group.groups[organisation.mspid].CopyFrom(organisation_group(organisation))
    return group


def _orderer_group(ordering: OrderingOrganisation) -> ConfigGroup:
    group = _group(
        {
            "Readers": (_ANY, "Readers"),
            "Writers": (_ANY, "Writers"),
            ADMINS: (_MAJORITY, ADMINS),
            "BlockValidation": (_ANY, "Writers"),
        }
    )
    set_value(group, "ConsensusType", _raft(ordering))
    set_value(group, "BatchSize", batch_size(500))
    set_value(group, "BatchTimeout", BatchTimeout(timeout="500ms"))
    set_value(group, "Capabilities", _capabilities("V2_0"))
    group.values["ChannelRestrictions"].CopyFrom(ConfigValue(mod_policy=ADMINS))
    group.groups["OrdererOrg"].CopyFrom(_ordering_organisation_group(ordering))
    return group


def batch_size(max_message_count: int) -> BatchSize:
    """Return the limits of a block: the number of envelopes, preferably 512 KiB, at most 99 MiB."""
    return BatchSize(
        max_message_count=max_message_count,
        absolute_max_bytes=99 * 2**20,
        preferred_max_bytes=2**19,
    )


def _ordering_organisation_group(ordering: OrderingOrganisation) -> ConfigGroup:
    group = ConfigGroup(mod_policy=ADMINS)
    for name, role in (
        ("Readers", MSPRole.MEMBER),
        ("Writers", MSPRole.MEMBER),
        (ADMINS, MSPRole.ADMIN),
    ):
        _set_signature_policy(group, name, [MSPRole(msp_identifier=ordering.mspid, role=role)])
    set_value(group, "MSP", _msp(ordering.mspid, ordering.authority, ordering.tls_authority))
    address = f"{ordering.endpoint.host}:{ordering.endpoint.port}"
    set_value(group, "Endpoints", OrdererAddresses(addresses=[address]))
    return group


def _raft(ordering: OrderingOrganisation) -> ConsensusType:
    consenter = Consenter(
        host=ordering.endpoint.host,
        port=ordering.endpoint.port,
        client_tls_cert=ordering.orderer_tls_certificate,
        server_tls_cert=ordering.orderer_tls_certificate,
    )
    options = Options(
        tick_interval="500ms",
        election_tick=10,
        heartbeat_tick=1,
        max_inflight_blocks=5,
        snapshot_interval_size=16 * 2**20,
    )
    metadata = ConfigMetadata(consenters=[consenter], options=options)
    return ConsensusType(type="etcdraft", metadata=serialize(metadata))


def _msp(
    mspid: str, authority: CertificateAuthority, tls_authority: CertificateAuthority
) -> MSPConfig:
    root = authority.certificate

    def unit(name: str) -> FabricOUIdentifier:
        return FabricOUIdentifier(certificate=root, organizational_unit_identifier=name)

    config = FabricMSPConfig(
        name=mspid,
        root_certs=[root],
        tls_root_certs=[tls_authority.certificate],
        crypto_config=FabricCryptoConfig(
            signature_hash_family="SHA2", identity_identifier_hash_function="SHA256"
        ),
        fabric_node_ous=FabricNodeOUs(
            enable=True,
            client_ou_identifier=unit("client"),
            peer_ou_identifier=unit("peer"),
            admin_ou_identifier=unit("admin"),
            orderer_ou_identifier=unit("orderer"),
        ),
    )
    return MSPConfig(config=serialize(config))


def _capabilities(name: str) -> Capabilities:
    return Capabilities(capabilities={name: Capability()})


def _group(policies: dict[str, tuple[ImplicitMetaPolicy.Rule.ValueType, str]]) -> ConfigGroup:
    group = ConfigGroup(mod_policy=ADMINS)
    for name, (rule, sub_policy) in policies.items():
        implicit = ImplicitMetaPolicy(rule=rule, sub_policy=sub_policy)
        _set_policy(
            group, name, Policy(type=Policy.IMPLICIT_META, value=implicit.SerializeToString())
        )
    return group


def _set_signature_policy(group: ConfigGroup, name: str, roles: list[MSPRole]) -> None:
    policy = signature_policy(1, roles).SerializeToString()
    _set_policy(group, name, Policy(type=Policy.SIGNATURE, value=policy))


def _set_policy(group: ConfigGroup, name: str, policy: Policy) -> None:
    group.policies[name].policy.CopyFrom(policy)
    group.policies[name].mod_policy = ADMINS
