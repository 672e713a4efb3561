"""A ledger of the test's own words: blocks with whatever ids, outcomes and events it wants."""

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

_STARTED = 1_767_225_600


class Draft(Struct, frozen=True):
    """A transaction as it is to stand on the ledger. Without `tx_id` it gets the one that Fabric demands."""

    code: int = VALID
    tx_id: str | None = None
    function: str = "Donate"
    payload: bytes | None = None
    """Of its event `DonationReceived`."""


class Pen:
    """Writes a chain, block by block, that differs from that of another seed."""

    def __init__(self, seed: int = 1) -> None:
        self._network = Recipe(seed=seed, signed=False).network()
        self._chain = Chain(self._network)
        self.genesis = ForgedBlock(0, self._chain.genesis(_STARTED))
        """Block 0."""
        self._nonces = (sha256(f"{seed}/{n}".encode()).digest()[:24] for n in count())

    def block(self, drafts: Sequence[Draft]) -> tuple[ForgedBlock, list[str]]:
        """The next block, and the ids in it."""
        number = self._chain.height
        transactions = [self._transaction(draft, _STARTED + number) for draft in drafts]
        sealed = [
            (transaction.seal(), draft.code)
            for transaction, draft in zip(transactions, drafts, strict=True)
        ]
        return ForgedBlock(number, self._chain.cut(sealed)), [
            transaction.tx_id for transaction in transactions
        ]

    def _transaction(self, draft: Draft, seconds: int) -> EndorserTransaction:
        transaction = EndorserTransaction(
            channel=self._network.channel,
            chaincode=KINDLEDGER,
            args=[draft.function.encode()],
            creator=self._network.clients[0],
            endorsers=self._network.endorsers,
            nonce=next(self._nonces),
            timestamp=Timestamp(seconds=seconds),
        )
        if draft.tx_id is not None:
            transaction.tx_id = draft.tx_id
        if draft.payload is not None:
            transaction.set_event("DonationReceived", draft.payload)
        return transaction
