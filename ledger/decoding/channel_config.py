"""Decodes CONFIG envelopes: the channel's organisations, orderers, capabilities and policies.

The maps of protocol buffers have no order. What is decoded from a map is sorted, so that the same
block always gives the same result.
"""

from collections.abc import Iterator, Mapping

from ledger.decoding.identities import decode_certificate
from ledger.decoding.parsing import DecodingErrors, M, parse
from ledger.decoding.policies import describe_policy
from ledger.model import Acl, Capabilities, ChannelConfig, Consenter, Organisation, Policy
from protos import configuration_pb2 as configuration
from protos import etcdraft_pb2 as etcdraft
from protos import msp_pb2 as msp
from protos import orderer_pb2 as orderer
from protos import peer_configuration_pb2 as peer_configuration

_FABRIC_MSP = 0
_MAX_POLICY_CHARACTERS = 1 << 22
"""The most characters of all policies of an envelope together.

Every policy has its whole path, and names can be long. Therefore the paths of a small tree can be
many times larger than the tree.
"""


def decode_channel_config(data: bytes, errors: DecodingErrors) -> ChannelConfig | None:
    """Return the configuration in the payload of a CONFIG envelope, or None if it has none.

    The paths of the parts that cannot be decoded are added to `errors`.
    """
    envelope = parse(configuration.ConfigEnvelope, data, errors, "config")
    if envelope is None:
        return None
    channel = _Group("", "Channel", envelope.config.channel_group, errors)
    application, ordering = channel.child("Application"), channel.child("Orderer")
    consensus = ordering.value("ConsensusType", orderer.ConsensusType)
    batch_size = ordering.value("BatchSize", orderer.BatchSize)
    batch_timeout = ordering.value("BatchTimeout", orderer.BatchTimeout)
    addresses = channel.value("OrdererAddresses", configuration.OrdererAddresses)
    acls = application.value("ACLs", peer_configuration.ACLs)
    return ChannelConfig(
        sequence=envelope.config.sequence,
        organisations=tuple(_organisation(group) for group in application.children()),
        orderer_organisations=tuple(_organisation(group) for group in ordering.children()),
        orderer_addresses=tuple(addresses.addresses) if addresses is not None else (),
        consensus_type=consensus.type if consensus is not None else None,
        consenters=_consenters(ordering, consensus),
        batch_timeout=batch_timeout.timeout if batch_timeout is not None else None,
        max_message_count=batch_size.max_message_count if batch_size is not None else None,
        absolute_max_bytes=batch_size.absolute_max_bytes if batch_size is not None else None,
        preferred_max_bytes=batch_size.preferred_max_bytes if batch_size is not None else None,
        capabilities=Capabilities(
            channel=_capabilities(channel),
            orderer=_capabilities(ordering),
            application=_capabilities(application),
        ),
        policies=tuple(_policies(channel, errors)),
        acls=tuple(Acl(name, acls.acls[name].policy_ref) for name in sorted(acls.acls))
        if acls is not None
        else (),
    )


class _Group:
    """A node of the configuration tree with its path, which errors name."""

    def __init__(
        self, parent: str, name: str, message: configuration.ConfigGroup, errors: DecodingErrors
    ) -> None:
        self.path, self.name, self.message, self._errors = f"{parent}/{name}", name, message, errors

    def value(self, key: str, kind: type[M]) -> M | None:
        if key not in self.message.values:
            return None
        return self.parse(kind, self.message.values[key].value, key)

    def parse(self, kind: type[M], data: bytes, key: str) -> M | None:
        return parse(kind, data, self._errors, f"config{self.path}/{key}")

    def child(self, name: str) -> "_Group":
        present = name in self.message.groups
        message = self.message.groups[name] if present else configuration.ConfigGroup()
        return _Group(self.path, name, message, self._errors)

    def children(self) -> "Iterator[_Group]":
        return (self.child(name) for name in sorted(self.message.groups))

    def descendants(self) -> "Iterator[_Group]":
        yield self
        for child in self.children():
            yield from child.descendants()


def _policies(channel: _Group, errors: DecodingErrors) -> Iterator[Policy]:
    """Yield the policies of all groups; add `config.policies` to `errors` if there are too many."""
    remaining = _MAX_POLICY_CHARACTERS
    for group in channel.descendants():
        remaining -= len(group.path)
        for name in sorted(group.message.policies):
            if remaining < 0:
                break
            policy = Policy(
                f"{group.path}/{name}", describe_policy(group.message.policies[name].policy)
            )
            remaining -= len(policy.path) + len(policy.rule)
            yield policy
        if remaining < 0:
            errors.append("config.policies")
            return


def _organisation(group: _Group) -> Organisation:
    config = group.value("MSP", msp.MSPConfig)
    endpoints = group.value("Endpoints", configuration.OrdererAddresses)
    msp_id: str | None = None
    roots: tuple[str, ...] = ()
    if config is not None and config.type == _FABRIC_MSP:
        fabric = group.parse(msp.FabricMSPConfig, config.config, "MSP") or msp.FabricMSPConfig()
        certificates = [decode_certificate(fabric.name, pem) for pem in fabric.root_certs]
        msp_id = fabric.name
        roots = tuple(c.fingerprint or c.digest or "" for c in certificates)
    elif config is not None:
        idemix = group.parse(msp.IdemixMSPConfig, config.config, "MSP")
        msp_id = idemix.name if idemix is not None else None
    return Organisation(
        name=group.name,
        msp_id=msp_id,
        msp_type=config.type if config is not None else None,
        root_fingerprints=roots,
        endpoints=tuple(endpoints.addresses) if endpoints is not None else (),
        anchor_peers=_anchor_peers(group),
    )


def _consenters(ordering: _Group, consensus: orderer.ConsensusType | None) -> tuple[Consenter, ...]:
    """Return the nodes of the ordering service.

    SmartBFT has its nodes in Orderer/Orderers, Raft in the consensus metadata.
    """
    bft = ordering.value("Orderers", configuration.Orderers)
    if bft is not None:
        return tuple(
            Consenter(
                node.host,
                node.port,
                node.id,
                node.msp_id,
                decode_certificate(node.msp_id, node.identity).fingerprint,
            )
            for node in bft.consenter_mapping
        )
    if consensus is None or consensus.type != "etcdraft":
        return ()
    raft = ordering.parse(etcdraft.ConfigMetadata, consensus.metadata, "ConsensusType.metadata")
    if raft is None:
        return ()
    return tuple(Consenter(node.host, node.port) for node in raft.consenters)


def _capabilities(group: _Group) -> tuple[str, ...]:
    value = group.value("Capabilities", configuration.Capabilities)
    names: Mapping[str, object] = value.capabilities if value is not None else {}
    return tuple(sorted(names))


def _anchor_peers(group: _Group) -> tuple[str, ...]:
    value = group.value("AnchorPeers", peer_configuration.AnchorPeers)
    return (
        tuple(f"{peer.host}:{peer.port}" for peer in value.anchor_peers)
        if value is not None
        else ()
    )
