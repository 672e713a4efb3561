"""Runs repairs on a store, also such that the process dies at a chosen change."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from indexer.audit.raw_block_repair import RawBlockRepairer, remove_raw_blocks
from indexer.audit.repair import Finding, Repairer
from indexer.audit.source_checks import SourceChecks, SourceSignatures
from indexer.audit.truncation import plan_truncation, truncate
from indexer.pipeline.block_signatures import BlockSignatures
from indexer.progress.channel_progress import ChannelProgress
from indexer.sources.block_source import BlockSource
from ledger.decoding.blocks import UndecodedBlock
from ledger.mongodb.raw_block_archive import MongoArchive
from ledger.mongodb.repairs import Change, RepairedBy, RepairStore
from ledger.mongodb.store import LedgerStore
from ledger.raw_blocks import RawBlockArchive
from tests.indexer.crashing import CrashError
from tests.indexer.support import new_progress

AT = datetime(2026, 3, 1, tzinfo=UTC)
BY = RepairedBy("operator", "kindledger_repair@admin", "files", "a test")


class CrashingRepairs(RepairStore):
    """A store for repairs that crashes at one of its changes: before it, midway, or after it."""

    _calls, crash_at, moment = 0, 0, ""

    async def _apply(self, changes: Sequence[Change]) -> None:
        self._calls += bool(changes)
        if not changes or self._calls != self.crash_at:
            await super()._apply(changes)
            return
        if self.moment == "after":
            await super()._apply(changes)
        elif self.moment == "midway":
            await super()._apply(changes[: len(changes) // 2])
        raise CrashError


def repairs_of(store: LedgerStore, crash_at: int = 0, moment: str = "") -> CrashingRepairs:
    """Return the store for repairs, which crashes at change number `crash_at`; 0 for never."""
    repairs = CrashingRepairs(store, BY, lambda: AT)
    repairs.crash_at, repairs.moment = crash_at, moment
    return repairs


def checks_of(
    store: LedgerStore,
    progress: ChannelProgress | None = None,
    anchor: UndecodedBlock | None = None,
) -> SourceChecks:
    """Return the checks of a source that has the store's channel."""
    progress = progress or new_progress()
    signatures = SourceSignatures(BlockSignatures(progress), anchor)
    return SourceChecks(store.database, progress, signatures)


async def repair(
    store: LedgerStore,
    source: BlockSource | None,
    *,
    apply: bool = True,
    may_change: bool = True,
    repairs: RepairStore | None = None,
    checks: SourceChecks | None = None,
    archive: RawBlockArchive | None = None,
) -> tuple[list[Finding], int]:
    """Repair, or only show; return the findings, and the number of those that remain."""
    findings: list[Finding] = []
    repairs = repairs or repairs_of(store)
    archive = archive or MongoArchive(store.database)
    repairer = Repairer(
        store,
        repairs,
        source,
        checks or checks_of(store),
        report=findings.append,
        advance=lambda _: None,
    )
    remaining = await repairer.inspect()
    if apply:
        remaining = await repairer.apply(may_change=may_change)
    raw_blocks = RawBlockRepairer(store, repairs, archive, source, findings.append)
    remaining_raw = await raw_blocks.inspect()
    if apply:
        remaining_raw = await raw_blocks.apply(archive, may_change=may_change)
    return findings, remaining + remaining_raw


async def cut_off(store: LedgerStore, last: int, repairs: RepairStore | None = None) -> int:
    """Cut off the blocks above block `last`; return the number of removed documents."""
    repairs = repairs or repairs_of(store)
    removed = await truncate(repairs, await plan_truncation(repairs, last), lambda _: None)
    await remove_raw_blocks(repairs, MongoArchive(store.database), last + 1)
    return removed


async def recorded(store: LedgerStore) -> list[dict[str, Any]]:
    """Return the records of all repairs, in their order."""
    return [each async for each in store.database["repairs"].find().sort("_id")]
