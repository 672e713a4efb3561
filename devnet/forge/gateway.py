"""From a client's wish to a sealed envelope: propose, simulate at the endorsers, sign."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from devnet.forge.chaincodes import Outcome, Stub
from devnet.forge.envelopes import Chaincode, EndorserTransaction
from devnet.forge.identities import Signer
from devnet.forge.network import Network
from devnet.forge.random_stream import RandomStream
from devnet.forge.world_state import Simulation, WorldState


@dataclass(frozen=True, slots=True)
class Endorsed:
    """A transaction that is ready to be ordered."""

    envelope: bytes
    tx_id: str
    simulation: Simulation


@dataclass(frozen=True, slots=True)
class Submission:
    """An envelope with the validation code that the peer gave it, and what the client asked for.

    A hostile envelope has neither `tx_id` nor the fields after it; a lifecycle transaction has no `args`.
    """

    envelope: bytes
    code: int
    tx_id: str = ""
    chaincode: str = ""
    function: str = ""
    args: tuple[str, ...] = ()


class Gateway:
    """Builds transactions of one channel against its world state."""

    def __init__(self, network: Network, state: WorldState) -> None:
        self._network = network
        self._state = state

    def endorse(
        self,
        chaincode: Chaincode,
        args: Sequence[bytes],
        execute: Callable[[Stub], Outcome],
        *,
        creator: Signer,
        endorsers: Sequence[Signer],
        random: RandomStream,
        timestamp: Timestamp,
        claimed_id: str | None = None,
    ) -> Endorsed:
        """Run `execute` as the chaincode's code. `claimed_id` stands in the header in place of the right id."""
        transaction = EndorserTransaction(
            channel=self._network.channel,
            chaincode=chaincode,
            args=args,
            creator=creator,
            endorsers=endorsers,
            nonce=random.nonce(),
            timestamp=timestamp,
        )
        if claimed_id is not None:
            transaction.tx_id = claimed_id
        simulation = Simulation(self._state)
        outcome = execute(Stub(simulation, chaincode.name, transaction.tx_id, creator.mspid))
        transaction.results = simulation.results()
        transaction.response = outcome.response
        if outcome.event:
            transaction.set_event(*outcome.event)
        return Endorsed(transaction.seal(), transaction.tx_id, simulation)


def timestamp(milliseconds: int) -> Timestamp:
    """A moment, given in milliseconds since 1970, as clients write it."""
    seconds, rest = divmod(milliseconds, 1000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000_000)
