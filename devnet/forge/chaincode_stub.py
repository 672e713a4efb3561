"""The interface between a chaincode function and the transaction that invokes it."""

from typing import NamedTuple

import msgspec

from devnet.forge import lifecycle
from devnet.forge.envelopes import Chaincode
from devnet.forge.world_state import Simulation


class Outcome(NamedTuple):
    """The response of a chaincode function, and the name and payload of its event."""

    response: bytes = b""
    event: tuple[str, bytes] | None = None


class Stub(NamedTuple):
    """The view that a chaincode function has of its transaction and of the world state."""

    simulation: Simulation
    namespace: str
    tx_id: str
    mspid: str

    def get(self, key: str) -> bytes | None:
        """Return the committed value of a key."""
        return self.simulation.get(self.namespace, key)

    def put(self, key: str, value: object) -> bytes:
        """Write a value as JSON; return the JSON."""
        document = msgspec.json.encode(value)
        self.simulation.put(self.namespace, key, document)
        return document

    def private(self, collection: str) -> str:
        """Return the namespace of a private collection, and record the reads of the definition."""
        lifecycle.read_collections(self.simulation, self.namespace)
        return f"{self.namespace}${collection}"

    def call(self, chaincode: Chaincode) -> "Stub":
        """Return the stub of another chaincode that this chaincode invokes."""
        lifecycle.read_sequence(self.simulation, chaincode.name)
        return self._replace(namespace=chaincode.name)
