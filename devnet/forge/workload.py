"""Generates the transactions of each block, with the failures of a busy network.

Transactions are simulated against the state after the previous block, ordered, and validated in
this order as by a peer. Conflicts arise as on a real network: validation codes and versions are
correct.
"""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import cycle

from msgspec import Struct

from devnet.forge.gateway import Endorsed, Gateway, Submission, timestamp
from devnet.forge.hostile_builders import HostileContext
from devnet.forge.hostile_envelopes import envelope_builders
from devnet.forge.identities import Signer
from devnet.forge.invocations import INITIAL_CAMPAIGNS, Invocation, InvocationGenerator
from devnet.forge.network import Network
from devnet.forge.random_stream import RandomStream
from devnet.forge.world_state import KeyVersion, WorldState
from protos.transaction_pb2 import (
    BAD_PROPOSAL_TXID,
    DUPLICATE_TXID,
    ENDORSEMENT_POLICY_FAILURE,
    VALID,
)

_MAX_RECENT = 50
"""The number of recent valid transactions, from which resubmitted envelopes are chosen."""
_CHOSEN_IDS = ("giao-dịch-0001", "order/2026/11/20", "0", "9f86d081884c7d659a2feaa0c55ad015", "")


class _Ordered(Struct, frozen=True):
    """An envelope in the order of the block; without a `code`, its reads decide the code."""

    envelope: bytes
    code: int | None
    endorsed: Endorsed | None = None
    invocation: Invocation | None = None


class _Block(Struct):
    """The block that is being filled."""

    size: int
    random: RandomStream
    milliseconds: int
    ordered: list[_Ordered]

    @property
    def has_room_for_two(self) -> bool:
        return len(self.ordered) + 2 <= self.size


class Workload:
    """Generates the transactions of one chain, block after block.

    `Recipe` describes the shares. The builders of hostile envelopes take turns.
    """

    def __init__(
        self,
        network: Network,
        state: WorldState,
        gateway: Gateway,
        invocations: InvocationGenerator,
        *,
        invalid_share: float,
        hostile_share: float,
    ) -> None:
        self._network = network
        self._state = state
        self._gateway = gateway
        self._invocations = invocations
        self._invalid_share = invalid_share
        self._hostile_share = hostile_share
        self._hostile_builders = cycle(envelope_builders().values())
        self._failures = (
            self._conflict,
            self._late,
            self._phantom,
            self._unendorsed,
            self._resubmitted,
            self._chosen_id,
        )
        self._postponed: list[_Ordered] = []
        self._recent: deque[_Ordered] = deque(maxlen=_MAX_RECENT)

    def batch(
        self, number: int, size: int, random: RandomStream, milliseconds: int
    ) -> list[Submission]:
        """Return the transactions of block `number`, signed at `milliseconds` since 1970.

        The first batch of a chain creates campaigns, at most ten.
        """
        block = _Block(size, random, milliseconds, self._postponed)
        self._postponed = []
        self._invocations.begin_block(random)
        if not self._invocations.has_campaigns:
            invocations = [
                self._invocations.open_campaign() for _ in range(min(size, INITIAL_CAMPAIGNS))
            ]
            block.ordered = [self._order(block, invocation) for invocation in invocations]
        else:
            while len(block.ordered) < size:
                block.ordered += self._next(block)
        return self._commit(number, block.ordered)

    def _next(self, block: _Block) -> list[_Ordered]:
        if block.random.chance(self._hostile_share):
            return [self._hostile(block)]
        if block.random.chance(self._invalid_share):
            return block.random.pick(self._failures)(block)
        return [self._order(block, self._invocations.next())]

    def _order(
        self,
        block: _Block,
        invocation: Invocation,
        *,
        endorsers: Sequence[Signer] | None = None,
        claimed_id: str | None = None,
        code: int | None = None,
    ) -> _Ordered:
        endorsed = self._gateway.endorse(
            invocation.function.chaincode,
            [
                invocation.function.name.encode(),
                *(argument.encode() for argument in invocation.args),
            ],
            invocation.execute,
            creator=block.random.pick(self._network.clients),
            endorsers=self._network.endorsers if endorsers is None else endorsers,
            random=block.random,
            timestamp=timestamp(block.milliseconds),
            claimed_id=claimed_id,
        )
        return _Ordered(endorsed.envelope, code, endorsed, invocation)

    def _conflict(self, block: _Block) -> list[_Ordered]:
        """Return a transaction with MVCC_READ_CONFLICT within the block.

        A transaction that writes the key comes first, unless the block already has one.
        """
        invocation = self._invocations.conflicting()
        if invocation:
            return [self._order(block, invocation)]
        return self._after(block, self._invocations.mint(), self._invocations.conflicting)

    def _late(self, block: _Block) -> list[_Ordered]:
        """Return a transaction, and postpone a second one like it, for MVCC_READ_CONFLICT.

        The second transaction is simulated now and ordered in the next block. By then the first
        transaction has changed its key.
        """
        invocation = self._invocations.update()
        if invocation is None:
            return self._unendorsed(block)
        self._postponed.append(self._order(block, invocation))
        return [self._order(block, invocation)]

    def _phantom(self, block: _Block) -> list[_Ordered]:
        """Return a transaction with PHANTOM_READ_CONFLICT.

        The creation of a campaign comes first, unless the block already has one.
        """
        invocation = self._invocations.phantom()
        if invocation:
            return [self._order(block, invocation)]
        return self._after(block, self._invocations.open_campaign(), self._invocations.phantom)

    def _after(
        self, block: _Block, first: Invocation, failing: Callable[[], Invocation | None]
    ) -> list[_Ordered]:
        """Return `first`, and the transaction that fails because of it if the block has room."""
        second = failing() if block.has_room_for_two else None
        return [self._order(block, invocation) for invocation in (first, second) if invocation]

    def _unendorsed(self, block: _Block) -> list[_Ordered]:
        """Return a transaction with ENDORSEMENT_POLICY_FAILURE: one endorsement too few."""
        endorsers = self._network.endorsers[1:]
        invocation = self._invocations.donation()
        return [
            self._order(block, invocation, endorsers=endorsers, code=ENDORSEMENT_POLICY_FAILURE)
        ]

    def _resubmitted(self, block: _Block) -> list[_Ordered]:
        """Return an envelope of this or an earlier block again, for DUPLICATE_TXID."""
        here = [earlier for earlier in block.ordered if earlier.endorsed and earlier.code is None]
        candidates = self._recent if self._recent and block.random.chance(0.5) else here
        if not candidates:
            return self._unendorsed(block)
        first = block.random.pick(candidates)
        return [_Ordered(first.envelope, DUPLICATE_TXID, first.endorsed, first.invocation)]

    def _chosen_id(self, block: _Block) -> list[_Ordered]:
        """Return a transaction with an id that the client chose, for BAD_PROPOSAL_TXID."""
        claimed_id = block.random.pick(_CHOSEN_IDS)
        invocation = self._invocations.donation()
        return [self._order(block, invocation, claimed_id=claimed_id, code=BAD_PROPOSAL_TXID)]

    def _hostile(self, block: _Block) -> _Ordered:
        others = [ordered.endorsed.tx_id for ordered in self._recent if ordered.endorsed]
        context = HostileContext(
            network=self._network,
            random=block.random,
            timestamp=timestamp(block.milliseconds),
            other_id=block.random.pick(others),
        )
        envelope, code = next(self._hostile_builders)(context)
        return _Ordered(envelope, code)

    def _commit(self, number: int, ordered: list[_Ordered]) -> list[Submission]:
        submissions = []
        for index, transaction in enumerate(ordered):
            if transaction.endorsed is None or transaction.invocation is None:
                submissions.append(Submission(transaction.envelope, transaction.code or VALID))
                continue
            code = transaction.code
            if code is None:
                code = self._state.commit(
                    transaction.endorsed.simulation, KeyVersion(number, index)
                )
            if code == VALID:
                self._invocations.committed(transaction.invocation, transaction.endorsed.tx_id)
                self._recent.append(transaction)
            function, args = transaction.invocation
            submissions.append(
                Submission(
                    transaction.envelope,
                    code,
                    transaction.endorsed.tx_id,
                    function.chaincode.name,
                    function.name,
                    args,
                )
            )
        return submissions
