"""A chain whose configuration takes back what it accepted: an organisation, a certificate, a root.

Every transaction is refused for its endorsements, because no chaincode is defined; the signatures
are right. So the codes contradict nothing.
"""

from collections.abc import Sequence
from functools import cache
from typing import Final

from devnet.forge.chain import Chain
from devnet.forge.chaincodes import KINDLEDGER
from devnet.forge.config_updates import msp_update, organisation_update, removal_update
from devnet.forge.envelopes import EndorserTransaction
from devnet.forge.gateway import timestamp
from devnet.forge.identities import CertificateAuthority, Signer
from devnet.forge.network import Network, Organisation
from devnet.forge.random_stream import RandomStream
from protos.chaincode_pb2 import ChaincodeID
from protos.configuration_pb2 import ConfigUpdate
from protos.msp_pb2 import FabricMSPConfig, MSPConfig
from protos.transaction_pb2 import (
    BAD_CREATOR_SIGNATURE,
    DUPLICATE_TXID,
    ENDORSEMENT_POLICY_FAILURE,
    INVALID_ENDORSER_TRANSACTION,
    ChaincodeAction,
    ProposalResponsePayload,
)
from tests.indexer.support import CHANNEL

NETWORK: Final = Network(7, CHANNEL)
ORG1, ORG2 = NETWORK.organisations
ORG3 = NETWORK.newcomer
USER: Final = ORG1.clients[0]
"""The client whose certificate is revoked, and accepted again at last."""
STRANGER: Final = Network(8, CHANNEL).organisations[0].clients[0]
"""A client with a certificate of an authority that the channel does not know."""

REMOVED, REVOKED, REPLACED, RESTORED = 3, 5, 7, 9
"""The CONFIG blocks: Org3 is removed, USER revoked, the root of Org2 replaced, USER restored."""
LENGTH: Final = 11
"""The number of blocks."""

_REFUSED: Final = {
    USER: range(REVOKED, RESTORED),
    ORG3.clients[0]: range(REMOVED, LENGTH),
    STRANGER: range(LENGTH),
}
"""The blocks in which a client is no member."""
_REPEATED: Final = 2
"""The block with the transaction that others repeat."""


@cache
def changing_chain() -> tuple[bytes, ...]:
    """Return the chain: configurations in blocks of odd numbers, transactions in the others."""
    chain = Chain(NETWORK)
    blocks = [chain.genesis(0)]

    def configure(update: ConfigUpdate) -> None:
        blocks.append(chain.configure(update, [ORG1.admin, ORG2.admin], chain.height))

    def work(*creators: Signer) -> None:
        blocks.append(chain.cut(_transactions(chain.height, creators)))

    configure(organisation_update(CHANNEL, chain.config, ORG3))
    work(USER, ORG3.clients[0], STRANGER)
    configure(removal_update(CHANNEL, chain.config, ORG3))
    work(USER, ORG3.clients[0])
    configure(_revoking(chain, USER))
    work(USER, ORG1.clients[1])
    configure(_with_root(chain, ORG2, CertificateAuthority(9, ORG2.domain, name="ca")))
    work(USER, ORG1.clients[1], STRANGER)
    configure(_with_root(chain, ORG1, ORG1.authority))
    work(USER, ORG3.clients[0])
    return tuple(blocks)


def _definition(chain: Chain, organisation: Organisation) -> FabricMSPConfig:
    groups = chain.config.channel_group.groups["Application"].groups
    value = groups[organisation.mspid].values["MSP"].value
    return FabricMSPConfig.FromString(MSPConfig.FromString(value).config)


def _revoking(chain: Chain, member: Signer) -> ConfigUpdate:
    definition = _definition(chain, ORG1)
    definition.revocation_list.append(ORG1.authority.revoke(member))
    return msp_update(CHANNEL, chain.config, ORG1, definition)


def _with_root(
    chain: Chain, organisation: Organisation, authority: CertificateAuthority
) -> ConfigUpdate:
    """Return the update to an MSP with this root, and without revoked certificates."""
    definition = _definition(chain, organisation)
    del definition.revocation_list[:]
    definition.root_certs[0] = authority.certificate
    for _, unit in definition.fabric_node_ous.ListFields():
        if not isinstance(unit, bool):
            unit.certificate = authority.certificate
    return msp_update(CHANNEL, chain.config, organisation, definition)


def _transactions(number: int, creators: Sequence[Signer]) -> list[tuple[bytes, int]]:
    """Return a transaction of each creator that Org1 endorses, and two that count for nobody.

    One repeats a transaction of block 2, and the other has an endorsement for another proposal.
    Org2 endorsed both.
    """
    chosen = [
        (_transaction(creator, ORG1.peer, f"{number}/{index}"), ENDORSEMENT_POLICY_FAILURE)
        for index, creator in enumerate(creators)
    ]
    code = ENDORSEMENT_POLICY_FAILURE if number == _REPEATED else DUPLICATE_TXID
    chosen.append((_transaction(USER, ORG2.peer, "repeated"), code))
    copied = _transaction(ORG1.clients[1], ORG2.peer, f"{number}/copied")
    action = ChaincodeAction(chaincode_id=ChaincodeID(name=KINDLEDGER.name, version="1"))
    other = ProposalResponsePayload(proposal_hash=bytes(32), extension=action.SerializeToString())
    copied.replaced = {"proposal_response_payload": other.SerializeToString()}
    chosen.append((copied, INVALID_ENDORSER_TRANSACTION))
    return [
        (
            transaction.seal(),
            BAD_CREATOR_SIGNATURE if number in _REFUSED.get(transaction.creator, ()) else code,
        )
        for transaction, code in chosen
    ]


def _transaction(creator: Signer, endorser: Signer, label: str) -> EndorserTransaction:
    return EndorserTransaction(
        channel=CHANNEL,
        chaincode=KINDLEDGER,
        args=[b"PutNote"],
        creator=creator,
        endorsers=[endorser],
        nonce=RandomStream(label).nonce(),
        timestamp=timestamp(0),
    )
