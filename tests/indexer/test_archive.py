"""The archive beside the ledger: verified, repaired, the source of a new ledger, or unavailable."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from indexer.audit.consistency import DifferenceKind
from indexer.audit.raw_block_repair import RawBlockRepairer
from indexer.audit.repair import Cause
from indexer.audit.verification import Difference, Verifier
from indexer.pipeline.channel_indexer import ChannelIndexer
from indexer.sources.archive_source import ArchiveSource
from indexer.sources.bounded_source import BoundedSource
from ledger.archive.folder_archive import FolderArchive
from ledger.errors import ChainMismatchError, DamagedRawBlockError
from ledger.mongodb.collections import RAW_BLOCKS
from ledger.mongodb.raw_block_archive import MongoArchive
from ledger.mongodb.repairs import Act
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ArchiveReport, DifferenceCounts
from ledger.position import Height, pack_position
from ledger.raw_blocks import RawBlockArchive
from tests.eventually import eventually
from tests.indexer.network import BRANCH, TRUNK
from tests.indexer.repairing import cut_off, recorded, repair, repairs_of
from tests.indexer.support import (
    SMALL,
    EndingSource,
    ScriptedSource,
    assert_equal_documents,
    expected_documents,
    hostile_chain,
    index,
    new_progress,
    stored_documents,
)
from tests.ledger.archives import compressed, folder_archive, kept, segments, with_other_codes

CHAIN = hostile_chain()
COUNT = len(CHAIN)
WHOLE = dict(enumerate(CHAIN))
FILES = EndingSource(CHAIN)


@pytest.fixture(params=["mongodb", "folder"])
async def archive(
    request: pytest.FixtureRequest, store: LedgerStore, tmp_path: Path
) -> AsyncIterator[RawBlockArchive]:
    """An empty archive of the channel."""
    async with AsyncExitStack() as stack:
        if request.param == "mongodb":
            yield MongoArchive(store.database)
        else:
            yield await stack.enter_async_context(folder_archive(tmp_path / "archive"))


async def verify(
    store: LedgerStore, archive: RawBlockArchive, known: ArchiveReport | None = None
) -> tuple[list[Difference], DifferenceCounts]:
    """Return the differences of the raw blocks, and the counts of all kinds."""
    found: list[Difference] = []
    verifier = Verifier(store, found.append, lambda _: None)
    await verifier.check_raw_blocks(archive, known, Height(COUNT))
    assert {each.kind for each in found} <= {DifferenceKind.RAW_BLOCKS}
    return found, verifier.counts_by_kind


async def test_what_is_wrong_with_raw_blocks_is_found_and_fetched_again(
    store: LedgerStore, archive: RawBlockArchive
) -> None:
    """Missing, damaged and other blocks are named with their place; each act is recorded."""
    await index(store, ScriptedSource(CHAIN), archive=archive)
    assert await verify(store, archive) == ([], DifferenceCounts(0, 0, 0, None, raw_blocks=0))
    await archive.remove_from(20)
    await archive.append(compressed(CHAIN[26:]))
    await archive.replace(compressed([with_other_codes(CHAIN[3])]))
    await damage(archive, store, 7)
    differences, counts = await verify(store, archive)
    assert [each.block for each in differences] == [3, 7, 20]
    assert counts.raw_blocks == 3
    for each, what in zip(differences, ("another block", "altered", "20 to 25"), strict=True):
        assert archive.name in each.what
        assert what in each.what
    shown, remaining = await repair(store, FILES, apply=False, archive=archive)
    assert [(each.block, each.cause, each.repair) for each in shown] == [
        (3, Cause.ALTERED, Act.REPLACE),
        (7, Cause.ALTERED, Act.REPLACE),
        (20, Cause.MISSING, Act.INSERT),
    ]
    assert remaining == 3
    assert (await repair(store, FILES, may_change=False, archive=archive))[1] == 2
    assert (await repair(store, FILES, archive=archive))[1] == 0
    assert await kept(archive) == WHOLE
    assert await repair(store, FILES, archive=archive) == ([], 0)
    acts = [(each["act"], each["collection"], each["key"]) for each in await recorded(store)]
    assert acts == [
        ("insert", RAW_BLOCKS, "20-25"),
        ("replace", RAW_BLOCKS, "3-3"),
        ("replace", RAW_BLOCKS, "7-7"),
    ]
    assert "altered" in (await recorded(store))[2]["before"]["what"]


async def damage(archive: RawBlockArchive, store: LedgerStore, number: int) -> None:
    """Change a byte in the middle of what is kept of a block."""
    if isinstance(archive, MongoArchive):
        key = {"_id": pack_position(number, 0)}
        found = await store.database[RAW_BLOCKS].find_one(key)
        assert found is not None
        altered = {"data": found["data"][:-9] + b"?" + found["data"][-8:]}
        await store.database[RAW_BLOCKS].update_one(key, {"$set": altered})
        return
    frame = compressed([CHAIN[number]])[0].frame
    files_with = [path for path in segments(Path(archive.name)) if frame in path.read_bytes()]
    for path in files_with:
        path.write_bytes(path.read_bytes().replace(frame, frame[:-9] + b"?" + frame[-8:]))


async def test_a_source_with_other_blocks_repairs_no_raw_block(
    store: LedgerStore, archive: RawBlockArchive
) -> None:
    """The stored documents decide which block is right."""
    await index(store, ScriptedSource(CHAIN), archive=archive)
    await archive.remove_from(COUNT - 2)
    await archive.append(compressed(CHAIN[-1:]))
    liar = EndingSource((*CHAIN[:-2], with_other_codes(CHAIN[-2]), CHAIN[-1]))
    before = await kept(archive)
    repairer = RawBlockRepairer(store, repairs_of(store), archive, liar, lambda _: None)
    assert await repairer.inspect() == 1
    assert await repairer.apply(archive, may_change=True) == 1
    assert await kept(archive) == before


async def test_a_ledger_that_was_indexed_before_gets_its_raw_blocks_by_a_repair(
    store: LedgerStore, archive: RawBlockArchive
) -> None:
    """Until then the archive begins where it was switched on, and this is no difference."""
    await index(store, ScriptedSource(CHAIN[:20]), archive=None)
    assert (await verify(store, archive))[1].raw_blocks is None
    await index(store, ScriptedSource(CHAIN), archive=archive)
    assert list(await kept(archive)) == list(range(20, COUNT))
    assert (await verify(store, archive))[1].raw_blocks == 0
    assert (await repair(store, FILES, archive=archive))[1] == 0
    assert await kept(archive) == WHOLE


async def test_an_archive_that_vanished_is_noticed(
    store: LedgerStore, archive: RawBlockArchive
) -> None:
    """The daemon has reported which raw blocks it keeps."""
    progress = await index(store, ScriptedSource(CHAIN), archive=archive)
    report = progress.archive
    assert report is not None
    assert (report.place, report.first, report.height) == (archive.name, 0, COUNT)
    assert report.bytes is not None
    assert report.bytes >= sum(len(block.frame) for block in compressed(CHAIN))
    await archive.remove_from(0)
    differences, _ = await verify(store, archive, report)
    assert [each.what for each in differences] == [
        f"raw blocks 0 to {COUNT - 1} are not kept in {archive.name}"
    ]


async def test_raw_blocks_above_the_ledger_are_compared_or_removed(
    store: LedgerStore, archive: RawBlockArchive
) -> None:
    """A run died before it committed them. A repair keeps those that the source has too."""
    await index(store, ScriptedSource(CHAIN[:20]), archive=archive)
    await archive.append(compressed(CHAIN[20:25]))
    assert (await repair(store, FILES, archive=archive))[0] == []
    other = [with_other_codes(CHAIN[26]), *CHAIN[27:29]]
    await archive.append(compressed([CHAIN[25], *other]))
    findings, remaining = await repair(store, FILES, archive=archive)
    assert [(each.block, each.cause) for each in findings] == [(26, Cause.LEFTOVER)]
    assert remaining == 0
    assert list(await kept(archive)) == list(range(26))
    await index(store, ScriptedSource(CHAIN), archive=archive)
    assert await kept(archive) == WHOLE


async def test_an_archive_of_another_chain_stops_the_channel(
    store: LedgerStore, archive: RawBlockArchive
) -> None:
    await index(store, ScriptedSource(TRUNK), archive=None)
    await archive.append(compressed(BRANCH[: len(TRUNK)]))
    with pytest.raises(ChainMismatchError, match=r"block 29: raw block: .*different chains"):
        await index(store, ScriptedSource(TRUNK), archive=archive)
    assert await kept(archive) == dict(enumerate(BRANCH[: len(TRUNK)]))


async def test_the_archive_alone_gives_the_same_ledger(
    store: LedgerStore, archive: RawBlockArchive, mongo: Any, database_name: str
) -> None:
    """With the stored blocks at hand, another block in the archive is refused."""
    await index(store, ScriptedSource(CHAIN), archive=archive)
    again = LedgerStore(mongo, f"{database_name}_again")
    try:
        source: Any = BoundedSource(ArchiveSource(archive, store.database), COUNT - 6)
        await index_all(again, source)
        expected = expected_documents(CHAIN[:-5])
        assert_equal_documents(await stored_documents(again.database), expected)
        await archive.replace(compressed([with_other_codes(CHAIN[-2])]))
        source = ArchiveSource(archive, store.database)
        with pytest.raises(DamagedRawBlockError, match=f"raw block {COUNT - 2}: .*another block"):
            await index_all(again, source)
        assert (await again.checkpoint()).head.number == COUNT - 3  # type: ignore[union-attr]
        await archive.replace(compressed([CHAIN[-2]]))
        await index_all(again, source)
        assert_equal_documents(await stored_documents(again.database), expected_documents(CHAIN))
    finally:
        await mongo.drop_database(again.database.name)


async def index_all(store: LedgerStore, source: Any) -> None:
    """Index the blocks of a source that ends."""
    archive = MongoArchive(store.database)
    await ChannelIndexer(store, [source], new_progress(), limits=SMALL, raw_blocks=archive).run()


async def test_a_truncation_cuts_off_raw_blocks_too(store: LedgerStore) -> None:
    await index(store, ScriptedSource(CHAIN))
    await cut_off(store, 20)
    assert list(await kept(MongoArchive(store.database))) == list(range(21))
    assert (await recorded(store))[-1]["key"] == f"21-{COUNT - 1}"


async def test_the_channel_waits_while_the_volume_of_the_archive_is_full(
    store: LedgerStore, tmp_path: Path
) -> None:
    """No block is committed without its raw block; afterwards the channel goes on by itself."""
    archive = FolderArchive(tmp_path / "archive", "kindledger")
    await archive.open()
    source, progress = ScriptedSource(CHAIN), new_progress()
    indexer = ChannelIndexer(store, [source], progress, limits=SMALL, raw_blocks=archive)
    source.ended = indexer.stop
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        running = asyncio.create_task(indexer.run())
        await eventually(
            lambda: progress.state,
            lambda state: state == "waiting",
            within_s=30,
            describe="the channel waits",
        )
        assert progress.error is not None
        assert str(tmp_path) in progress.error.message
        assert progress.errors["archive"] > 0
        committed = progress.committed_height
        assert committed < COUNT
        assert (await archive.kept_range()).last >= committed - 1  # type: ignore[union-attr]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    await asyncio.wait_for(running, 30)
    assert await kept(archive) == WHOLE
    await archive.close()
    stored = await stored_documents(store.database)
    stored[RAW_BLOCKS] = dict(WHOLE)
    assert_equal_documents(stored, expected_documents(CHAIN))
