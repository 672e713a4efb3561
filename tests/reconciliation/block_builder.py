"""Builds blocks whose transactions have the ids, outcomes and events that a test needs."""

from collections.abc import Sequence
from hashlib import sha256
from itertools import count

from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import Struct

from devnet.forge.chain import Chain
from devnet.forge.chaincodes import KINDLEDGER
from devnet.forge.envelopes import EndorserTransaction
from devnet.forge.forger import ForgedBlock, Recipe
from ledger.model import VALID

_FIRST_BLOCK_TIME_S = 1_767_225_600


class PlannedTransaction(Struct, frozen=True):
    """A transaction as it must appear on the ledger."""

    code: int = VALID
    tx_id: str | None = None
    """None for the id that Fabric demands."""
    function: str = "Donate"
    payload: bytes | None = None
    """The payload of its event `DonationReceived`; None for no event."""


class BlockBuilder:
    """Builds a chain block by block. Chains of different seeds differ."""

    def __init__(self, seed: int = 1) -> None:
        self._network = Recipe(seed=seed, signed=False).network()
        self._chain = Chain(self._network)
        self.genesis = ForgedBlock(0, self._chain.genesis(_FIRST_BLOCK_TIME_S))
        """Block 0."""
        self._nonces = (sha256(f"{seed}/{n}".encode()).digest()[:24] for n in count())

    def next_block(self, planned: Sequence[PlannedTransaction]) -> tuple[ForgedBlock, list[str]]:
        """Return the next block, and the ids of its transactions."""
        number = self._chain.height
        transactions = [self._transaction(each, _FIRST_BLOCK_TIME_S + number) for each in planned]
        sealed = [
            (transaction.seal(), each.code)
            for transaction, each in zip(transactions, planned, strict=True)
        ]
        ids = [transaction.tx_id for transaction in transactions]
        return ForgedBlock(number, self._chain.cut(sealed)), ids

    def _transaction(self, planned: PlannedTransaction, time_s: int) -> EndorserTransaction:
        transaction = EndorserTransaction(
            channel=self._network.channel,
            chaincode=KINDLEDGER,
            args=[planned.function.encode()],
            creator=self._network.clients[0],
            endorsers=self._network.endorsers,
            nonce=next(self._nonces),
            timestamp=Timestamp(seconds=time_s),
        )
        if planned.tx_id is not None:
            transaction.tx_id = planned.tx_id
        if planned.payload is not None:
            transaction.set_event("DonationReceived", planned.payload)
        return transaction
