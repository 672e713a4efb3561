"""The definitions of KindLedger's two chaincodes: endorsement policies and private collections."""

from hashlib import sha256

from devnet.forge.chaincodes import (
    DONOR_COLLECTION,
    FIRST_ORGANISATION_COLLECTION,
    KINDLEDGER,
    TOKEN,
)
from devnet.forge.envelopes import Chaincode
from devnet.forge.genesis import signature_policy
from devnet.forge.lifecycle import Definition
from devnet.forge.network import Network
from protos.collection_pb2 import (
    CollectionConfig,
    CollectionConfigPackage,
    CollectionPolicyConfig,
    StaticCollectionConfig,
)
from protos.configuration_pb2 import MSPRole


def definitions(network: Network) -> tuple[Definition, Definition]:
    """Return the definitions of `kindledger` and `token` for a network.

    A majority of the organisations' peers endorses transactions of `kindledger`; a single peer
    endorses transactions of `token`.
    """
    mspids = [organisation.mspid for organisation in network.organisations]
    peers = [MSPRole(msp_identifier=mspid, role=MSPRole.PEER) for mspid in mspids]
    collections = CollectionConfigPackage(
        config=[
            CollectionConfig(
                static_collection_config=_collection(DONOR_COLLECTION, mspids, blocks_to_live=0)
            ),
            CollectionConfig(
                static_collection_config=_collection(
                    FIRST_ORGANISATION_COLLECTION, mspids[:1], blocks_to_live=5
                )
            ),
        ]
    )
    return (
        Definition(
            KINDLEDGER.name,
            KINDLEDGER.version,
            _package_id(KINDLEDGER),
            signature_policy(len(network.endorsers), peers),
            collections,
        ),
        Definition(
            TOKEN.name,
            TOKEN.version,
            _package_id(TOKEN),
            signature_policy(1, peers),
        ),
    )


def _package_id(chaincode: Chaincode) -> str:
    label = f"{chaincode.name}_{chaincode.version}"
    return f"{label}:{sha256(label.encode()).hexdigest()}"


def _collection(name: str, mspids: list[str], *, blocks_to_live: int) -> StaticCollectionConfig:
    members = signature_policy(1, [MSPRole(msp_identifier=mspid) for mspid in mspids])
    return StaticCollectionConfig(
        name=name,
        member_orgs_policy=CollectionPolicyConfig(signature_policy=members),
        maximum_peer_count=1,
        block_to_live=blocks_to_live,
        member_only_read=True,
    )
