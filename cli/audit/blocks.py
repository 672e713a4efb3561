"""Which blocks an audit is about, and whether the ledger has all blocks of the range."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from pymongo.asynchronous.database import AsyncDatabase

from cli.audit.when import When
from ledger.documents.format import Document
from ledger.mongodb.block_range import BlockRange
from ledger.mongodb.outcome_queries import OutcomeQueries
from ledger.mongodb.time_ranges import blocks_of_times
from ledger.position import BlockNumber
from reconciliation.row_reader import RowPeriod

_LATER = "repeat the audit later, or end the range with block:N"


class AuditRange(Struct, frozen=True):
    """The range of an audit, `begin` to `end`, and the blocks `stored` and `blocks`.

    `blocks` are those of the stored blocks that belong to the range, None if there is none.
    """

    begin: When
    end: When
    stored: BlockRange
    blocks: BlockRange | None

    @property
    def since(self) -> datetime | None:
        """The first moment of the range, None if it begins with a block."""
        return self.begin.begins

    @property
    def until(self) -> datetime | None:
        """The first moment after the range, None if it ends with a block."""
        return self.end.ends

    @property
    def rule(self) -> str:
        """How the blocks follow from the range."""
        if self.begin.block is not None and self.end.block is not None:
            return "the blocks with these numbers"
        which = "from the first to the last block"
        if self.begin.block is not None:
            which = f"from block {self.begin.block} to the last block"
        if self.end.block is not None:
            which = f"from the first block to block {self.end.block}, the first one"
        since = f"at or after {format_time(self.since)}" if self.since is not None else ""
        until = f"before {format_time(self.until)}" if self.until is not None else ""
        time = " and ".join(filter(None, (since, until)))
        return f"{which} with a transaction whose client's time is {time}"

    def contains(self, time: datetime | None) -> bool:
        """Return whether a transaction of the blocks, with this time, belongs to the range."""
        if time is None:
            return self.since is None and self.until is None
        is_early = self.since is not None and time < self.since
        return not is_early and (self.until is None or time < self.until)

    def gaps(self, now: datetime, *, is_last: bool) -> Iterator[str]:
        """Yield why blocks of the range may be missing in the ledger.

        `is_last` says whether the last block of the range may be the last one that is stored, while
        the channel has later ones.
        """
        blocks, stored = self.blocks, self.stored
        if blocks is None:
            yield f"no block of the range is stored; stored are {_span(stored)}"
            return
        begin, end = self.begin.block, self.end.block
        if begin is not None and begin < stored.lowest:
            yield f"the ledger starts at block {stored.lowest}"
        if begin is None and 0 < blocks.lowest == stored.lowest:
            yield f"the ledger starts in the range, at block {stored.lowest}"
        if end is not None and end > stored.highest:
            yield f"the highest stored block is {stored.highest}"
        if self.until is not None and self.until > now:
            yield f"the range is not over: {_LATER}"
        elif end is None and is_last:
            yield (
                f"no block after block {blocks.highest} is stored, and nothing says that the "
                f"channel has no later one: {_LATER}"
            )


async def audit_range(
    database: AsyncDatabase[Document], stored: BlockRange, begin: When, end: When
) -> AuditRange:
    """Return the range, with the stored blocks that belong to it.

    Raises `OperationFailure` if the index of times does not exist.
    """
    lowest, highest = begin.block, end.block
    if lowest is None or highest is None:
        within = BlockRange(
            BlockNumber(max(stored.lowest, lowest or 0)),
            BlockNumber(stored.highest if highest is None else min(stored.highest, highest)),
        )
        found = await blocks_of_times(database, begin.begins, end.ends, within)
        if found is None:
            return AuditRange(begin, end, stored, None)
        lowest = found.lowest if lowest is None else lowest
        highest = found.highest if highest is None else highest
    first, last = max(lowest, stored.lowest), min(highest, stored.highest)
    blocks = BlockRange(BlockNumber(first), BlockNumber(last)) if first <= last else None
    return AuditRange(begin, end, stored, blocks)


async def row_period(
    database: AsyncDatabase[Document], audited: AuditRange, blocks: BlockRange
) -> RowPeriod:
    """Return the period of the business rows that belong to the range.

    Where the range begins or ends with a block, the block's time bounds the period.
    """
    documents = await OutcomeQueries(database).block_times({blocks.lowest, blocks.highest})
    times = {each["_id"]: each.get("ts") for each in documents}
    first, last = times.get(blocks.lowest), times.get(blocks.highest)
    since, until = audited.since, audited.until
    if audited.begin.block is not None and isinstance(first, datetime):
        since = first
    if audited.end.block is not None and isinstance(last, datetime):
        until = last + timedelta(milliseconds=1)
    return RowPeriod(since, until, blocks.lowest, blocks.highest)


def format_time(time: datetime) -> str:
    """Return a time as text in RFC 3339, in UTC and milliseconds at most."""
    text = time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return text.replace(".000Z", "Z")


def _span(blocks: BlockRange) -> str:
    return f"the blocks {blocks.lowest} to {blocks.highest}"
