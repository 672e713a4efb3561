"""Where each channel stands, for operators: one small document a channel, the only one that is ever updated.

Nothing is decided from it. The checkpoint is read from the blocks themselves.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct, field

from ledger.documents.format import Document
from ledger.mongodb.collections import SYNC_STATE


class ChannelState(StrEnum):
    """What the daemon is doing about a channel."""

    STARTING = "starting"
    CATCHING_UP = "catching_up"
    FOLLOWING = "following"
    WAITING = "waiting"  # for a peer, or for MongoDB; the error says for what
    STOPPED = "stopped"
    FAILED = "failed"  # the chain does not match, or a block is corrupt: an operator must look


class LastError(Struct, frozen=True, rename="camel"):
    """The error that holds a channel up, or held it up last."""

    at: datetime
    message: str


class DifferenceCounts(Struct, frozen=True, rename="camel"):
    """What `kindledger verify` found, by kind."""

    chain: int
    """Blocks that are missing, or not chained to the one before, or whose hash their header does not give."""
    counts: int
    """Blocks whose documents are not those that they count: too many, too few, or of another validation code."""
    events_without_transaction: int
    """Events whose VALID transaction is not stored."""
    documents: int | None
    """Documents that are not as the source's blocks have them, or on one side only; null if none were compared."""


class Verification(Struct, frozen=True, rename="camel"):
    """The last `kindledger verify`: when, up to which height, and how many differences it found.

    `kinds` is null where an older version wrote it.
    """

    at: datetime
    height: int
    differences: int
    kinds: DifferenceCounts | None = None

    @property
    def compared(self) -> bool:
        """Whether stored documents were compared with the chain's blocks."""
        return self.kinds is not None and self.kinds.documents is not None


class DatabaseServer(Struct, frozen=True, rename="camel"):
    """Connections to a server of the business database; for a replica, how far it is behind, null while unknown."""

    name: str
    connections: int
    idle: int
    lag_s: float | None = field(name="lagSeconds")


class Reconciliation(Struct, frozen=True, rename="camel"):
    """Where the business rows stand: those that blocks below `height` name are settled.

    `settled` counts rows since the daemon's start, `discrepancies` what is open.
    """

    state: ChannelState
    height: int
    settled: int
    discrepancies: int
    error: LastError | None
    servers: list[DatabaseServer]


class SyncState(Struct, frozen=True, rename="camel"):
    """One channel's progress. A height is the number of blocks: the highest number plus one."""

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


async def write_sync_state(database: Any, state: SyncState) -> None:
    """Replaces the channel's progress; the last verification stays."""
    fields = msgspec.to_builtins(state, builtin_types=(datetime,))
    del fields["verification"]
    await database[SYNC_STATE].update_one({"_id": state.channel}, {"$set": fields}, upsert=True)


async def record_verification(database: Any, channel: str, verification: Verification) -> None:
    """Records the outcome of a verification.

    One that found nothing and did not compare with blocks says less than one that did, and does not
    take its place.
    """
    fields = msgspec.to_builtins(verification, builtin_types=(datetime,))
    says_less = verification.differences == 0 and not verification.compared
    compared = {"verification.kinds.documents": {"$ne": None}}
    if (
        says_less
        and await database[SYNC_STATE].find_one({"_id": channel, **compared}, {"_id": 1})
        is not None
    ):
        return
    await database[SYNC_STATE].update_one(
        {"_id": channel}, {"$set": {"verification": fields}}, upsert=True
    )


async def read_sync_state(database: Any) -> SyncState | None:
    """The progress of the channel that this database holds; None before the daemon first wrote it."""
    document: Document | None = await database[SYNC_STATE].find_one({"state": {"$exists": True}})
    return msgspec.convert(document, SyncState) if document is not None else None
