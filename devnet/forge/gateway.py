"""Turns a chaincode invocation into a signed envelope, as client, gateway and endorsers do."""

from collections.abc import Callable, Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import Struct

from devnet.forge.chaincode_stub import Outcome, Stub
from devnet.forge.envelopes import Chaincode, EndorserTransaction
from devnet.forge.identities import Signer
from devnet.forge.network import Network
from devnet.forge.random_stream import RandomStream
from devnet.forge.world_state import Simulation, WorldState


class Endorsed(Struct, frozen=True):
    """A signed transaction that is ready to be ordered."""

    envelope: bytes
    tx_id: str
    simulation: Simulation


class Submission(Struct, frozen=True):
    """An envelope with its validation code, and the invocation that the client submitted.

    A hostile envelope has no `tx_id` and no fields after it. A lifecycle transaction has no `args`.
    """

    envelope: bytes
    code: int
    tx_id: str = ""
    chaincode: str = ""
    function: str = ""
    args: tuple[str, ...] = ()


class Gateway:
    """Endorses transactions of one channel against its world state."""

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
        """Return the transaction in which the chaincode runs `execute`.

        `claimed_id` is written to the header instead of the computed transaction id.
        """
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
    """Return the timestamp for a time in milliseconds since 1970."""
    seconds, remaining_ms = divmod(milliseconds, 1000)
    return Timestamp(seconds=seconds, nanos=remaining_ms * 1_000_000)
