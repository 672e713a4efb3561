"""Totals over the blocks of a channel, and the problem while they are still being computed."""

from collections.abc import Callable
from operator import add
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from explorer_api.http.problems import RETRY_SECONDS, ProblemError
from ledger.mongodb.totals import BlockTotals, ChaincodeTotals, LedgerTotals

V = TypeVar("V")

MAX_NAME_CHARACTERS: Final = 1024
"""Longer names are counted under None, as are names that were too long for the store."""

_MAX_RETRY_S: Final = 60


class ChannelTotals(Struct, frozen=True):
    """The totals over a range of blocks, and the number of events by chaincode."""

    blocks: LedgerTotals = LedgerTotals()
    events: dict[str | None, int] = {}

    def plus(self, later: "ChannelTotals") -> "ChannelTotals":
        """Return the totals over both ranges."""
        events = dict(self.events)
        for name, count in later.events.items():
            events[name] = events.get(name, 0) + count
        return ChannelTotals(self.blocks.plus(later.blocks), events)

    def bounded(self, max_names: int) -> "ChannelTotals":
        """Return the same totals with at most `max_names` names of each kind.

        Further names, and names that are too long, are counted under None: clients can invent
        names without limit.
        """
        blocks = replace(
            self.blocks,
            organisations=_bounded(self.blocks.organisations, add, max_names),
            chaincodes=_bounded(self.blocks.chaincodes, ChaincodeTotals.plus, max_names),
        )
        return ChannelTotals(blocks, _bounded(self.events, add, max_names))

    @property
    def untimed_blocks(self) -> int:
        """The number of blocks that have no time."""
        return self.blocks.hours.get(None, BlockTotals()).blocks


def _bounded(
    counts: dict[str | None, V], plus: Callable[[V, V], V], max_names: int
) -> dict[str | None, V]:
    bounded: dict[str | None, V] = {}
    names = 0
    for name, count in counts.items():
        has_room = name is not None and len(name) <= MAX_NAME_CHARACTERS and names < max_names
        key = name if has_room else None
        names += has_room
        bounded[key] = plus(bounded[key], count) if key in bounded else count
    return bounded


class TotalsNotReadyError(ProblemError):
    """The totals do not include all blocks up to the head yet."""

    def __init__(self, counted: int, blocks: int, remaining_s: float | None) -> None:
        seconds = RETRY_SECONDS
        if remaining_s is not None:
            seconds = min(max(RETRY_SECONDS, round(remaining_s)), _MAX_RETRY_S)
        super().__init__(
            503,
            "totals-not-ready",
            "Totals not ready",
            f"The totals of the ledger are still being computed: {counted} of {blocks} blocks are "
            "counted.",
            f"Try again in {seconds} s. The service counts every block once after its start; lists "
            "and lookups work meanwhile.",
            headers={"Retry-After": str(seconds)},
            counted=counted,
            blocks=blocks,
        )
