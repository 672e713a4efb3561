"""How far the peers of a channel agree on the stored blocks: pure bookkeeping, without I/O.

A block is agreed when the required number of peers, of distinct organisations, gave the same header
hash, validation codes and commit hash. Peers whose organisation is not known count as one
organisation.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from ledger.decoding.block_identities import BlockIdentity
from ledger.documents.code_names import status_name
from ledger.errors import LedgerError
from ledger.position import BlockNumber, Height


class DivergenceError(LedgerError):
    """Two peers gave different blocks with the same number."""

    def __init__(self, block: int, difference: "FieldDifference", stored_from: str, peer: str):
        self.block, self.difference = block, difference
        self.stored_from, self.peer = stored_from, peer
        super().__init__(
            f"block {block}: {difference.field}: {stored_from} says {difference.stored}, "
            f"{peer} says {difference.given}. It is the first block on which they differ, so one "
            "of them lies, or has another chain or damaged data. The channel has stopped, and no "
            "row of this block or a later one is settled any more. Find out which peer is right: "
            "run `kindledger verify --source peer:NAME` with a peer of a third organisation, or "
            "ask the organisations. If the stored blocks are right, remove the other peer from "
            "the configuration. If they are wrong, remove the peer that gave them, and put the "
            "store right with `kindledger repair`."
        )


class FieldDifference(Struct, frozen=True):
    """The first field of a block in which two peers differ, and both values as text."""

    field: str
    stored: str
    given: str


def difference(stored: BlockIdentity, given: BlockIdentity) -> FieldDifference | None:
    """Return the first difference between the stored block and the block that a peer gives.

    A commit hash that one of both lacks is no difference: the hashes and the codes are equal, so
    the state changes are equal too.
    """
    if stored.hash != given.hash:
        return FieldDifference("header hash", stored.hash, given.hash)
    if len(stored.codes) != len(given.codes):
        return FieldDifference(
            "number of validation codes", str(len(stored.codes)), str(len(given.codes))
        )
    for index, (code, other) in enumerate(zip(stored.codes, given.codes, strict=True)):
        if code != other:
            return FieldDifference(
                f"validation code of transaction {index}", status_name(code), status_name(other)
            )
    ours, theirs = stored.commit_hash, given.commit_hash
    if ours is not None and theirs is not None and ours != theirs:
        return FieldDifference("commit hash", ours, theirs)
    return None


class _Delivery(Struct):
    """The last blocks without a gap that a peer delivered to be stored: `first` to `end` - 1."""

    first: int
    end: int


class Agreement:
    """Up to which height each peer of a channel gave the stored blocks.

    `organisations` has the MSP id of each peer, None if it is not known. A peer gave a block when
    the block was stored as the peer delivered it, or was compared with it and equal.
    """

    def __init__(
        self, organisations: Mapping[str, str | None] | None = None, required: int = 1
    ) -> None:
        self.organisations: Final = dict(organisations or {})
        self.required: Final = required
        self.resumed = not self.organisations
        """Whether it is known how far the peers were compared before the start."""
        self.diverged_at: BlockNumber | None = None
        """The first block on which peers were found to differ in this run."""
        self._differed_at: int | None = None
        """The same of an earlier run."""
        self._start = BlockNumber(0)
        self._compared: dict[str, int] = {}
        self._delivered: dict[str, _Delivery] = {}

    def resume(
        self, start: BlockNumber, compared: Mapping[str, int], differed_at: int | None = None
    ) -> None:
        """Set the start block, and what was found before the start.

        `compared` has the heights up to which peers were compared; `differed_at` is the first block
        on which peers differed.
        """
        self._start, self.resumed, self._differed_at = start, True, differed_at
        for peer, height in compared.items():
            if peer in self.organisations:
                self._compared[peer] = max(start, height)

    def record_delivery(self, peer: str, number: int, committed: int) -> None:
        """Note that the peer delivers the next block to be stored."""
        delivery = self._delivered.get(peer)
        if delivery is not None and delivery.end == number:
            delivery.end = number + 1
        elif peer in self.organisations:
            self._compared[peer] = self.height_of(peer, committed)
            self._delivered[peer] = _Delivery(number, number + 1)

    def record_equal(self, peer: str, height: int) -> None:
        """Note that the peer gives the same blocks below `height`."""
        self._compared[peer] = max(height, self._compared.get(peer, self._start))

    def height_of(self, peer: str, committed: int) -> Height:
        """Return the height below which the peer gave every stored block."""
        compared = self._compared.get(peer, self._start)
        delivery = self._delivered.get(peer)
        if delivery is not None and delivery.first <= compared:
            compared = max(compared, delivery.end)
        return Height(min(compared, committed))

    def givers(self, number: int, committed: int) -> list[str]:
        """Return the peers that are known to have given block `number`."""
        return [peer for peer in self.organisations if self.height_of(peer, committed) > number]

    def height(self, committed: Height) -> Height:
        """Return the height below which every block is agreed, at most the committed height.

        It falls only when peers are found to differ: to the first block on which they do.
        """
        if not self.resumed:
            return Height(0)
        agreed = int(committed) if self.required == 1 else self._required_height(committed)
        disputed = self.disputed_at(committed)
        return Height(agreed if disputed is None else min(agreed, disputed))

    def disputed_at(self, committed: int) -> int | None:
        """Return the first block on which peers differ, None if there is none.

        A difference that was found before a restart counts until all peers gave this block.
        """
        if self.diverged_at is not None or self._differed_at is None:
            return self.diverged_at
        heights = (self.height_of(peer, committed) for peer in self.organisations)
        return self._differed_at if min(heights, default=0) <= self._differed_at else None

    def _required_height(self, committed: int) -> int:
        """Return the height that the required number of organisations gave."""
        by_organisation: dict[str | None, int] = {}
        for peer, organisation in self.organisations.items():
            given = self.height_of(peer, committed)
            by_organisation[organisation] = max(given, by_organisation.get(organisation, 0))
        heights = sorted(by_organisation.values(), reverse=True)
        return heights[self.required - 1] if len(heights) >= self.required else 0
