"""The progress of each channel for operators, in one small document for each channel.

The daemon updates no other document but those of the inventory of certificates. The checkpoint is
not read from it, but from the blocks themselves. The daemon reads only how far peers were compared
and the scrub came, and goes on from there.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from ledger.documents.format import Document
from ledger.mongodb.collections import SYNC_STATE

MAX_SILENCE_OF_WORK_S: Final = 30.0
"""A daemon that has not reported for longer does not work on the channel."""


class ChannelState(StrEnum):
    """The state of the daemon's work on a channel."""

    STARTING = "starting"
    CATCHING_UP = "catching_up"
    BUILDING_INDEXES = "building_indexes"
    FOLLOWING = "following"
    WAITING = "waiting"  # for a server that is unavailable; the error names it
    STOPPED = "stopped"
    FAILED = "failed"  # the chain does not match or a block is corrupt: an operator must act


class LastError(Struct, frozen=True, rename="camel"):
    """The last error that stopped or delayed a channel; the channel may have recovered."""

    at: datetime
    message: str


class IndexBuild(Struct, frozen=True, rename="camel"):
    """The builds of indexes that run now: their number, and how far they are.

    `share` is the share of the work that is done, from 0 to 1. Both estimates are null if they are
    not known: MongoDB shows the progress only to users with the privilege `inprog`.
    """

    indexes: int
    share: float | None
    seconds_left: float | None


def describe_build(build: IndexBuild) -> str:
    """Return the progress as text: `building indexes, 40 s left`."""
    if build.seconds_left is None:
        return "building indexes"
    return f"building indexes, {max(build.seconds_left, 1):.0f} s left"


class DifferenceCounts(Struct, frozen=True, rename="camel"):
    """The number of differences that `kindledger verify` found, by kind."""

    chain: int
    """Blocks that are missing, do not continue the previous block, or have a wrong hash."""
    counts: int
    """Differences between a block's counts and its documents: in number, or in validation codes."""
    events_without_transaction: int
    """Events whose VALID transaction is not stored."""
    documents: int | None
    """Documents that differ from those of the source's blocks, or exist on one side only.

    It is null if documents were not compared.
    """
    digests: int = 0
    """Blocks whose stored documents do not have the digests that the block has."""
    signatures: int | None = None
    """Signatures of the source's blocks that are wrong, or contradict a code or a stored verdict.

    It is null if signatures were not verified.
    """
    raw_blocks: int | None = None
    """Raw blocks that are missing, damaged, or other blocks than the stored ones.

    A range of missing ones counts once. It is null if no raw block is kept.
    """


class Verification(Struct, frozen=True, rename="camel"):
    """The result of the last `kindledger verify`: its time, height and number of differences.

    `kinds` is null if an older version wrote the result.
    """

    at: datetime
    height: int
    differences: int
    kinds: DifferenceCounts | None = None

    @property
    def compared(self) -> bool:
        """Whether the stored documents were compared with the blocks of the chain."""
        return self.kinds is not None and self.kinds.documents is not None


class ScrubPass(Struct, frozen=True, rename="camel"):
    """A pass of the scrub over the ledger: its end, the height, and the number of differences."""

    at: datetime
    height: int
    differences: int


class ScrubState(Struct, frozen=True, rename="camel"):
    """The progress of the present pass of the scrub, which checks stored documents again and again.

    The blocks below `height` are checked. `last` is the last complete pass.
    """

    height: int
    started_at: datetime
    differences: int
    last: ScrubPass | None

    @property
    def has_differences(self) -> bool:
        """Whether this pass or the last one found a difference."""
        return self.differences > 0 or (self.last is not None and self.last.differences > 0)


class DatabaseServer(Struct, frozen=True, rename="camel"):
    """The connections to a server of the business database, and the lag of a replica.

    The lag is null for the primary, and while it is unknown.
    """

    name: str
    connections: int
    idle: int
    lag_s: float | None = field(name="lagSeconds")


class Reconciliation(Struct, frozen=True, rename="camel"):
    """The progress of reconciliation: the rows of all blocks below `height` are settled.

    `settled` counts the rows that were settled since the daemon's start, `discrepancies` the open
    discrepancies. Every transaction below `audited_height` was searched for in the rows; those
    below `due_height` should have been, since their grace period is over. Both are null until the
    first grace period of this daemon is over.
    """

    state: ChannelState
    height: int
    settled: int
    discrepancies: int
    error: LastError | None
    servers: list[DatabaseServer]
    audited_height: int | None = None
    due_height: int | None = None


class PeerState(StrEnum):
    """How a peer's blocks compare with the stored ones."""

    COMPARING = "comparing"
    AGREES = "agrees"  # it gave every stored block
    BEHIND = "behind"  # it agrees as far as it has blocks
    UNAVAILABLE = "unavailable"  # the error says why
    DIFFERS = "differs"


class PeerComparisonReport(Struct, frozen=True, rename="camel"):
    """How far a peer agrees: it gave every stored block below `agreed_height`.

    `organisation` is its MSP id, null if it is not known. `height` is the number of blocks that the
    peer was seen to have.
    """

    name: str
    organisation: str | None
    state: PeerState
    height: int | None
    agreed_height: int
    error: LastError | None
    contact_at: datetime | None


class EnvelopeReport(Struct, frozen=True, rename="camel"):
    """What the verification of envelopes found: validation codes that contradict the signatures.

    `first_contradiction` is the first block with one.
    """

    contradictions: int
    first_contradiction: int | None


class ArchiveReport(Struct, frozen=True, rename="camel"):
    """The raw blocks that are kept: from block `first` on, below `height`; both null if none is.

    `place` is a folder, or a collection of MongoDB. `bytes` is null if the size is not known.
    """

    place: str
    first: int | None
    height: int | None
    bytes: int | None


class SyncState(Struct, frozen=True, rename="camel"):
    """The progress of one channel; a height is the highest block number plus one."""

    channel: str
    state: ChannelState
    peer: str | None
    start_block: int
    peer_height: int | None
    seen_height: int
    committed_height: int
    transactions_per_second: float
    error: LastError | None
    started_at: datetime
    updated_at: datetime
    version: str
    verification: Verification | None = None
    reconciliation: Reconciliation | None = None
    encoder: str | None = None
    """The encoder of blocks that the daemon uses: `compiled` or `python`."""
    index_build: IndexBuild | None = None
    scrub: ScrubState | None = None
    agreed_height: int | None = None
    """The height below which every block is agreed; None if an older version wrote the state."""
    peers_required: int = 1
    """The number of peers of distinct organisations that must give a block."""
    disputed_at: int | None = None
    """The first block on which peers differ, or differed and have not been compared again."""
    peers: list[PeerComparisonReport] | None = None
    """The peers that are compared; None if an older version wrote the state."""
    verifies_envelopes: bool = False
    """Whether the daemon verifies the signatures of creators and endorsers."""
    verified_height: int | None = None
    """The height below which every block has a verdict; None if the daemon verifies none."""
    envelopes: EnvelopeReport | None = None
    """What the verification of envelopes found; None if the daemon verifies none."""
    verification_error: LastError | None = None
    """What holds the verification of envelopes up."""
    archive: ArchiveReport | None = None
    """The raw blocks that are kept; None if the daemon keeps none."""

    def agreed_below(self, stored_height: int) -> int:
        """Return the height below which the stored blocks are agreed.

        The store may be higher than this report. Without requirement every stored block is agreed,
        unless peers were found to differ.
        """
        if self.agreed_height is None:
            return stored_height if self.peers_required == 1 else 0
        if self.peers_required == 1 and self.agreed_height >= self.committed_height:
            return stored_height
        return min(self.agreed_height, stored_height)

    def final_below(self, stored_height: int) -> int:
        """Return the height below which nothing more will become known about the stored blocks."""
        agreed = self.agreed_below(stored_height)
        return min(agreed, self.verified_height or 0) if self.verifies_envelopes else agreed


def reports_work(state: SyncState, now: datetime) -> bool:
    """Return whether a daemon or an import reported a moment ago that it works on the channel.

    Both report at least every ten seconds, and at their end that they have stopped. A process that
    was killed counts as working for `MAX_SILENCE_OF_WORK_S` seconds.
    """
    if state.state in (ChannelState.STOPPED, ChannelState.FAILED):
        return False
    return abs((now - state.updated_at).total_seconds()) < MAX_SILENCE_OF_WORK_S


async def write_sync_state(database: Any, state: SyncState) -> None:
    """Replace the channel's progress; the result of the last verification is not changed.

    The comparisons of peers, what the verification of envelopes found, and which raw blocks are
    kept, stay too while the state does not have them.
    """
    fields = msgspec.to_builtins(state, builtin_types=(datetime,))
    del fields["verification"]
    for optional in ("peers", "archive"):
        if fields[optional] is None:
            del fields[optional]
    if state.agreed_height is None:
        del fields["agreedHeight"], fields["disputedAt"]
    if state.verifies_envelopes and state.verified_height is None:
        del fields["verifiedHeight"], fields["envelopes"]
    await database[SYNC_STATE].update_one({"_id": state.channel}, {"$set": fields}, upsert=True)


async def record_verification(database: Any, channel: str, verification: Verification) -> None:
    """Record the result of a verification.

    A result without differences from a verification that did not compare documents does not replace
    the result of a verification that compared them.
    """
    fields = msgspec.to_builtins(verification, builtin_types=(datetime,))
    if verification.differences == 0 and not verification.compared:
        compared = {"_id": channel, "verification.kinds.documents": {"$ne": None}}
        if await database[SYNC_STATE].find_one(compared, {"_id": 1}) is not None:
            return
    await database[SYNC_STATE].update_one(
        {"_id": channel}, {"$set": {"verification": fields}}, upsert=True
    )


async def read_sync_state(database: Any) -> SyncState | None:
    """Return the progress of the database's channel, or None if the daemon never wrote it."""
    document: Document | None = await database[SYNC_STATE].find_one({"state": {"$exists": True}})
    return msgspec.convert(document, SyncState) if document is not None else None


async def read_channel_name(database: Any) -> str | None:
    """Return the name of the channel whose progress the database holds, or None.

    Only the name is decoded: a newer version may have written the rest.
    """
    progress = {"state": {"$exists": True}, "$expr": {"$eq": ["$_id", "$channel"]}}
    document: Document | None = await database[SYNC_STATE].find_one(progress, {"channel": 1})
    name = document["channel"] if document is not None else None
    return name if isinstance(name, str) else None
