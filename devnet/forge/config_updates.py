"""Updates of the channel configuration: their read and write sets, signatures and envelopes.

Versions follow Fabric's rules (`common/configtx`): a changed element has the next version, and a
group with the next version lists all its members.
"""

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from devnet.forge.genesis import ADMINS, batch_size, organisation_group, serialize, set_value
from devnet.forge.identities import Signer
from devnet.forge.network import Organisation
from devnet.forge.random_stream import RandomStream
from protos.common_pb2 import (
    CONFIG,
    CONFIG_UPDATE,
    ChannelHeader,
    Envelope,
    Header,
    Payload,
    SignatureHeader,
)
from protos.configuration_pb2 import (
    Config,
    ConfigEnvelope,
    ConfigGroup,
    ConfigSignature,
    ConfigUpdate,
    ConfigUpdateEnvelope,
)
from protos.msp_pb2 import FabricMSPConfig, MSPConfig
from protos.peer_configuration_pb2 import ACLs, AnchorPeer, AnchorPeers, APIResource

APPLICATION = "Application"
ORDERER = "Orderer"


def anchor_peer_update(channel: str, config: Config, organisation: Organisation) -> ConfigUpdate:
    """Return the update that sets an organisation's first anchor peer; its administrators sign."""
    update, read, write = _update(channel, config, APPLICATION)
    current = config.channel_group.groups[APPLICATION].groups[organisation.mspid]
    read.groups[organisation.mspid].CopyFrom(_versions(current))
    group = write.groups[organisation.mspid]
    group.CopyFrom(_versions(current))
    group.version += 1
    group.mod_policy = ADMINS
    peer = AnchorPeer(host=organisation.endpoint.host, port=organisation.endpoint.port)
    set_value(group, "AnchorPeers", AnchorPeers(anchor_peers=[peer]))
    return update


def batch_size_update(channel: str, config: Config, max_message_count: int) -> ConfigUpdate:
    """Return the update of the orderer's batch size; the orderer's administrators sign."""
    update, _, write = _update(channel, config, ORDERER)
    version = config.channel_group.groups[ORDERER].values["BatchSize"].version + 1
    set_value(write, "BatchSize", batch_size(max_message_count), version)
    return update


def organisation_update(channel: str, config: Config, organisation: Organisation) -> ConfigUpdate:
    """Return the update that adds an organisation.

    The administrators of a majority of the existing organisations sign.
    """
    update, read, write = _update(channel, config, APPLICATION)
    current = config.channel_group.groups[APPLICATION]
    read.CopyFrom(_versions(current))
    write.CopyFrom(_versions(current))
    write.version += 1
    write.mod_policy = ADMINS
    write.groups[organisation.mspid].CopyFrom(organisation_group(organisation))
    return update


def removal_update(channel: str, config: Config, organisation: Organisation) -> ConfigUpdate:
    """Return the update that removes an organisation.

    The administrators of a majority of the organisations sign.
    """
    update, read, write = _update(channel, config, APPLICATION)
    current = config.channel_group.groups[APPLICATION]
    read.CopyFrom(_versions(current))
    write.CopyFrom(_versions(current))
    write.version += 1
    write.mod_policy = ADMINS
    del write.groups[organisation.mspid]
    return update


def msp_update(
    channel: str, config: Config, organisation: Organisation, definition: FabricMSPConfig
) -> ConfigUpdate:
    """Return the update of an organisation's MSP; the organisation's administrators sign."""
    update, read, write = _update(channel, config, APPLICATION)
    current = config.channel_group.groups[APPLICATION].groups[organisation.mspid]
    for part in (read, write):
        part.groups[organisation.mspid].version = current.version
    msp = MSPConfig(config=serialize(definition))
    version = current.values["MSP"].version + 1
    set_value(write.groups[organisation.mspid], "MSP", msp, version)
    return update


def acl_update(channel: str, config: Config, resources: dict[str, str]) -> ConfigUpdate:
    """Return the update that sets the access policies of peer resources, for example `event/Block`.

    The administrators of a majority of the organisations sign.
    """
    update, read, write = _update(channel, config, APPLICATION)
    current = config.channel_group.groups[APPLICATION]
    acls = ACLs(acls={name: APIResource(policy_ref=policy) for name, policy in resources.items()})
    if "ACLs" in current.values:
        set_value(write, "ACLs", acls, current.values["ACLs"].version + 1)
        return update
    read.CopyFrom(_versions(current))
    write.CopyFrom(_versions(current))
    write.version += 1
    write.mod_policy = ADMINS
    set_value(write, "ACLs", acls)
    return update


def config_envelope(
    config: Config,
    update: ConfigUpdate,
    *,
    admins: Sequence[Signer],
    orderer: Signer,
    seconds: int,
    random: RandomStream,
) -> tuple[bytes, Config]:
    """Return the CONFIG envelope that the orderer makes of an update, and the new configuration.

    All `admins` sign the update, and the first one submits it. Neither header has a transaction id.
    """
    config_update = serialize(update)
    signatures = [_config_signature(config_update, admin, random) for admin in admins]
    update_header = ChannelHeader(
        type=CONFIG_UPDATE, timestamp=Timestamp(seconds=seconds), channel_id=update.channel_id
    )
    signed_update = serialize(
        ConfigUpdateEnvelope(config_update=config_update, signatures=signatures)
    )
    last_update = _envelope(update_header, signed_update, admins[0], random)
    changed = Config(
        sequence=config.sequence + 1, channel_group=_apply(config.channel_group, update.write_set)
    )
    data = serialize(ConfigEnvelope(config=changed, last_update=last_update))
    header = ChannelHeader(
        type=CONFIG, timestamp=update_header.timestamp, channel_id=update.channel_id
    )
    envelope = _envelope(header, data, orderer, random)
    return envelope.SerializeToString(), changed


def _update(
    channel: str, config: Config, section: str
) -> tuple[ConfigUpdate, ConfigGroup, ConfigGroup]:
    """Return an empty update, with the groups of `section` in its read set and its write set."""
    update = ConfigUpdate(channel_id=channel)
    for part in (update.read_set, update.write_set):
        part.version = config.channel_group.version
        part.groups[section].version = config.channel_group.groups[section].version
    return update, update.read_set.groups[section], update.write_set.groups[section]


def _versions(group: ConfigGroup) -> ConfigGroup:
    """Return the group reduced to the versions of its members."""
    versions = ConfigGroup(version=group.version)
    for name, value in group.values.items():
        versions.values[name].version = value.version
    for name, policy in group.policies.items():
        versions.policies[name].version = policy.version
    for name, member in group.groups.items():
        versions.groups[name].version = member.version
    return versions


def _apply(current: ConfigGroup, written: ConfigGroup) -> ConfigGroup:
    """Return the group after the write set of a valid update, by Fabric's rules."""
    result = ConfigGroup()
    if written.version == current.version:
        result.CopyFrom(current)
    else:
        result.version = written.version
        result.mod_policy = written.mod_policy
    for name, value in written.values.items():
        unchanged = name in current.values and current.values[name].version == value.version
        result.values[name].CopyFrom(current.values[name] if unchanged else value)
    for name, policy in written.policies.items():
        unchanged = name in current.policies and current.policies[name].version == policy.version
        result.policies[name].CopyFrom(current.policies[name] if unchanged else policy)
    for name, member in written.groups.items():
        exists = name in current.groups
        result.groups[name].CopyFrom(_apply(current.groups[name], member) if exists else member)
    return result


def _config_signature(config_update: bytes, admin: Signer, random: RandomStream) -> ConfigSignature:
    header = _signature_header(admin, random)
    return ConfigSignature(signature_header=header, signature=admin.sign(header + config_update))


def _signature_header(signer: Signer, random: RandomStream) -> bytes:
    return SignatureHeader(creator=signer.serialized, nonce=random.nonce()).SerializeToString()


def _envelope(
    channel_header: ChannelHeader, data: bytes, creator: Signer, random: RandomStream
) -> Envelope:
    header = Header(
        channel_header=channel_header.SerializeToString(),
        signature_header=_signature_header(creator, random),
    )
    payload = Payload(header=header, data=data).SerializeToString()
    return Envelope(payload=payload, signature=creator.sign(payload))
