"""KindLedger's business as batches of ordered transactions, with the failures that a busy network has.

Transactions are simulated against the state after the former block, ordered, and then checked in that order as a
peer does: conflicts arise as they do on a real network, and validation codes and versions are true.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle

from devnet.forge.gateway import Endorsed, Gateway, Submission, timestamp
from devnet.forge.hostile_envelopes import HostileContext, hostile_builders
from devnet.forge.identities import Signer
from devnet.forge.invocations import CAMPAIGNS_AT_FIRST, Action, Business
from devnet.forge.network import Network
from devnet.forge.random_stream import RandomStream
from devnet.forge.world_state import Height, WorldState
from protos.transaction_pb2 import (
    BAD_PROPOSAL_TXID,
    DUPLICATE_TXID,
    ENDORSEMENT_POLICY_FAILURE,
    VALID,
)

_RESUBMITTED_LATER = 50
_CHOSEN_IDS = ("giao-dịch-0001", "order/2026/11/20", "0", "9f86d081884c7d659a2feaa0c55ad015", "")


@dataclass(frozen=True, slots=True)
class _Ordered:
    """An envelope with its place in the order. A `code` of None is left to the check of its reads."""

    envelope: bytes
    code: int | None
    endorsed: Endorsed | None = None
    action: Action | None = None


@dataclass(slots=True)
class _Turn:
    """The block at work."""

    size: int
    random: RandomStream
    milliseconds: int
    ordered: list[_Ordered]

    @property
    def has_room_for_two(self) -> bool:
        return len(self.ordered) + 2 <= self.size


class Workload:
    """Batches of transactions for one chain, one after the other.

    For the shares see `Recipe`; the builders of the hostile catalogue take turns.
    """

    def __init__(
        self,
        network: Network,
        state: WorldState,
        gateway: Gateway,
        business: Business,
        *,
        invalid_share: float,
        hostile_share: float,
    ) -> None:
        self._network = network
        self._state = state
        self._gateway = gateway
        self._business = business
        self._invalid_share = invalid_share
        self._hostile_share = hostile_share
        self._hostile_builders = cycle(hostile_builders().values())
        self._failures = (
            self._conflict,
            self._late,
            self._phantom,
            self._unendorsed,
            self._resubmitted,
            self._chosen_id,
        )
        self._late_ones: list[_Ordered] = []
        self._recent: deque[_Ordered] = deque(maxlen=_RESUBMITTED_LATER)

    def batch(
        self, number: int, size: int, random: RandomStream, milliseconds: int
    ) -> list[Submission]:
        """The transactions of block `number`, which clients signed at `milliseconds` since 1970.

        The first batch of a chain opens campaigns, at most ten.
        """
        turn = _Turn(size, random, milliseconds, self._late_ones)
        self._late_ones = []
        self._business.begin_block(random)
        if not self._business.has_begun:
            actions = [self._business.open_campaign() for _ in range(min(size, CAMPAIGNS_AT_FIRST))]
            turn.ordered = [self._order(turn, action) for action in actions]
        else:
            while len(turn.ordered) < size:
                turn.ordered += self._next(turn)
        return self._commit(number, turn.ordered)

    def _next(self, turn: _Turn) -> list[_Ordered]:
        if turn.random.chance(self._hostile_share):
            return [self._hostile(turn)]
        if turn.random.chance(self._invalid_share):
            return turn.random.pick(self._failures)(turn)
        return [self._order(turn, self._business.next())]

    def _order(
        self,
        turn: _Turn,
        action: Action,
        *,
        endorsers: Sequence[Signer] | None = None,
        claimed_id: str | None = None,
        code: int | None = None,
    ) -> _Ordered:
        endorsed = self._gateway.endorse(
            action.kind.chaincode,
            [action.kind.function.encode(), *(argument.encode() for argument in action.args)],
            action.execute,
            creator=turn.random.pick(self._network.clients),
            endorsers=self._network.endorsers if endorsers is None else endorsers,
            random=turn.random,
            timestamp=timestamp(turn.milliseconds),
            claimed_id=claimed_id,
        )
        return _Ordered(endorsed.envelope, code, endorsed, action)

    def _conflict(self, turn: _Turn) -> list[_Ordered]:
        """MVCC_READ_CONFLICT within the block, which mints for it first if it must."""
        action = self._business.conflicting()
        if action:
            return [self._order(turn, action)]
        return self._after(turn, self._business.mint(), self._business.conflicting)

    def _late(self, turn: _Turn) -> list[_Ordered]:
        """MVCC_READ_CONFLICT across blocks: simulated now, ordered in the next block, when the key has changed."""
        action = self._business.update()
        if action is None:
            return self._unendorsed(turn)
        self._late_ones.append(self._order(turn, action))
        return [self._order(turn, action)]

    def _phantom(self, turn: _Turn) -> list[_Ordered]:
        """PHANTOM_READ_CONFLICT; the block opens a campaign for it first if it must."""
        action = self._business.phantom()
        if action:
            return [self._order(turn, action)]
        return self._after(turn, self._business.open_campaign(), self._business.phantom)

    def _after(
        self, turn: _Turn, first: Action, then: Callable[[], Action | None]
    ) -> list[_Ordered]:
        """`first`, and what fails because of it if the block has room for both."""
        failing = then() if turn.has_room_for_two else None
        return [self._order(turn, action) for action in (first, failing) if action]

    def _unendorsed(self, turn: _Turn) -> list[_Ordered]:
        """ENDORSEMENT_POLICY_FAILURE: one endorsement fewer than the chaincode's policy asks for."""
        endorsers = self._network.endorsers[1:]
        action = self._business.donation()
        return [self._order(turn, action, endorsers=endorsers, code=ENDORSEMENT_POLICY_FAILURE)]

    def _resubmitted(self, turn: _Turn) -> list[_Ordered]:
        """DUPLICATE_TXID: an envelope of this block or of a former one again, byte for byte."""
        here = [earlier for earlier in turn.ordered if earlier.endorsed and earlier.code is None]
        earlier = self._recent if self._recent and turn.random.chance(0.5) else here
        if not earlier:
            return self._unendorsed(turn)
        first = turn.random.pick(earlier)
        return [_Ordered(first.envelope, DUPLICATE_TXID, first.endorsed, first.action)]

    def _chosen_id(self, turn: _Turn) -> list[_Ordered]:
        """BAD_PROPOSAL_TXID: an id that the client made up."""
        claimed_id = turn.random.pick(_CHOSEN_IDS)
        action = self._business.donation()
        return [self._order(turn, action, claimed_id=claimed_id, code=BAD_PROPOSAL_TXID)]

    def _hostile(self, turn: _Turn) -> _Ordered:
        others = [ordered.endorsed.tx_id for ordered in self._recent if ordered.endorsed]
        bench = HostileContext(
            network=self._network,
            random=turn.random,
            timestamp=timestamp(turn.milliseconds),
            other_id=turn.random.pick(others),
        )
        envelope, code = next(self._hostile_builders)(bench)
        return _Ordered(envelope, code)

    def _commit(self, number: int, ordered: list[_Ordered]) -> list[Submission]:
        submissions = []
        for index, each in enumerate(ordered):
            if each.endorsed is None or each.action is None:
                submissions.append(Submission(each.envelope, each.code or VALID))
                continue
            code = each.code
            if code is None:
                code = self._state.commit(each.endorsed.simulation, Height(number, index))
            if code == VALID:
                self._business.committed(each.action, each.endorsed.tx_id)
                self._recent.append(each)
            kind, args = each.action
            submissions.append(
                Submission(
                    each.envelope,
                    code,
                    each.endorsed.tx_id,
                    kind.chaincode.name,
                    kind.function,
                    args,
                )
            )
        return submissions
