"""Deploys chaincodes: each organisation approves a definition, then the definition is committed."""

from google.protobuf.timestamp_pb2 import Timestamp

from devnet.forge import lifecycle
from devnet.forge.chaincode_stub import Outcome, Stub
from devnet.forge.gateway import Endorsed, Gateway
from devnet.forge.lifecycle import Definition
from devnet.forge.network import Network, Organisation
from devnet.forge.random_stream import RandomStream


class ChaincodeDeployment:
    """Makes the `_lifecycle` transactions of one channel, which administrators submit."""

    def __init__(self, network: Network, gateway: Gateway) -> None:
        self._network = network
        self._gateway = gateway

    def approve(
        self,
        definition: Definition,
        organisation: Organisation,
        *,
        random: RandomStream,
        timestamp: Timestamp,
    ) -> Endorsed:
        """Return the approval of an organisation, endorsed by the organisation's own peer."""

        def execute(stub: Stub) -> Outcome:
            lifecycle.approve(stub.simulation, definition, organisation.mspid)
            return Outcome()

        return self._gateway.endorse(
            lifecycle.SYSTEM_CHAINCODE,
            lifecycle.approve_arguments(definition),
            execute,
            creator=organisation.admin,
            endorsers=(organisation.peer,),
            random=random,
            timestamp=timestamp,
        )

    def commit(
        self, definition: Definition, *, random: RandomStream, timestamp: Timestamp
    ) -> Endorsed:
        """Return the commit of a definition that all organisations approved.

        The peers of a majority endorse it.
        """
        mspids = [organisation.mspid for organisation in self._network.organisations]

        def execute(stub: Stub) -> Outcome:
            lifecycle.commit(stub.simulation, definition, mspids)
            return Outcome()

        return self._gateway.endorse(
            lifecycle.SYSTEM_CHAINCODE,
            lifecycle.commit_arguments(definition),
            execute,
            creator=self._network.organisations[0].admin,
            endorsers=self._network.endorsers,
            random=random,
            timestamp=timestamp,
        )
