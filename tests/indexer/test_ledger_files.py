"""A peer's own ledger files as a source: the same documents as from any other source."""

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from indexer.sources.file_source import FileSource
from ledger.mongodb.store import LedgerStore
from tests.block_files import write_block_files
from tests.indexer.network import HEIGHT, TRUNK, RunningIndexer, assert_stored, channel_error
from tests.indexer.processes import Ended, result
from tests.indexer.reading_ledger_files import Read, archive, ledger
from tests.indexer.support import (
    CHANNEL,
    assert_equal_documents,
    delete_everything,
    stored_documents,
)
from tests.ledger.recorded import recorded


async def run(command: str, *arguments: str | Path, uri: str, store: LedgerStore) -> Ended:
    channels = {CHANNEL: {"database": store.database.name}}
    return await result(
        command,
        *arguments,
        KINDLEDGER_MONGO__URI=uri,
        KINDLEDGER_CHANNELS=json.dumps(channels),
    )


async def test_a_recorded_ledger_gives_the_documents_of_its_block_files(
    mongo_uri: str, store: LedgerStore, tmp_path: Path
) -> None:
    blocks = recorded("raft-2.5").blocks
    files = ledger(tmp_path / "ledger", blocks, max_file_bytes=300_000)
    assert len(files) > 2
    stored = []
    for folder in (write_block_files(tmp_path / "blocks", blocks), tmp_path / "ledger"):
        ended = await run(
            "import", folder, "--database", store.database.name, uri=mongo_uri, store=store
        )
        assert (ended.code, f"{len(blocks)} new blocks" in ended.stderr) == (0, True), ended.stderr
        stored.append(await stored_documents(store.database))
        await delete_everything(store)
    assert_equal_documents(stored[1], stored[0])


async def test_a_ledger_that_the_peer_still_writes_is_a_source_of_each_command(
    mongo_uri: str, store: LedgerStore, tmp_path: Path
) -> None:
    """The last block is incomplete at first; the second import continues with it."""
    folder = tmp_path / "ledger"
    *_, last = files = ledger(folder)
    assert len(files) > 2
    whole = last.read_bytes()
    last.write_bytes(whole[:-9])
    unfinished = await run("import", folder, uri=mongo_uri, store=store)
    notice = f"{last} ends within block {HEIGHT - 1}: the peer is still writing it, or the copy is"
    assert (unfinished.code, notice in unfinished.stderr) == (0, True), unfinished.stderr
    await assert_stored(store, TRUNK[:-1])
    last.write_bytes(whole)
    finished = await run("import", folder, uri=mongo_uri, store=store)
    assert (finished.code, "1 new blocks" in finished.stderr) == (0, True), finished.stderr
    assert "ends within" not in finished.stderr
    await assert_stored(store, TRUNK)

    last.write_bytes(whole[:-9])
    verified, repaired = await asyncio.gather(
        run("verify", "--no-signatures", "--source", folder, uri=mongo_uri, store=store),
        run("repair", "--source", folder, uri=mongo_uri, store=store),
    )
    assert (verified.code, notice in verified.stderr) == (65, True), verified.stderr
    assert f"also against {folder}: 1 differences" in verified.stderr
    assert f"the source ends here, the blocks up to {HEIGHT - 1} are stored" in verified.stderr
    assert (repaired.code, notice in repaired.stderr) == (65, True), repaired.stderr
    assert "1 findings" in repaired.stderr


def beside_others(folder: Path) -> list[Path]:
    """The folders of a peer, with the files that it keeps beside the blocks."""
    channel = folder / "ledgersData" / "chains" / "chains" / "ch"
    ledger(channel)
    (channel / "bootstrappingSnapshot.info").write_bytes(b"\x08\x04")
    (channel / "__backupGenesisBlockBytes").write_bytes(b"x")
    (channel / "blockfile_000000.bak").write_bytes(b"x")
    (folder / "ledgersData" / "chains" / "index").mkdir()
    (folder / "ledgersData" / "chains" / "index" / "000001.log").write_bytes(b"x")
    return [folder]


def one_block_a_file(folder: Path) -> list[Path]:
    """As a peer writes blocks that are larger than a file: then the first one is empty."""
    files = ledger(folder, max_file_bytes=100)
    assert files[0].stat().st_size == 0
    assert len(files) == HEIGHT + 1
    return [folder]


def single_files(folder: Path) -> list[Path]:
    return ledger(folder)[::-1]


def a_link(folder: Path) -> list[Path]:
    ledger(folder / "elsewhere")
    (folder / "link").symlink_to(folder / "elsewhere")
    return [folder / "link"]


def shuffled_archive(folder: Path) -> list[Path]:
    files = ledger(folder)
    return [archive(folder.with_suffix(".tar.gz"), folder, [*files[1:], files[0]])]


def both_kinds(folder: Path) -> list[Path]:
    write_block_files(folder, TRUNK[12:20], first=12)
    ledger(folder)
    return [folder]


def block_files_and_a_later_ledger(folder: Path) -> list[Path]:
    ledger(folder / "ledger", TRUNK[9:])
    return [folder / "ledger", write_block_files(folder / "blocks", TRUNK[:10])]


def two_parts_in_the_wrong_order(folder: Path) -> list[Path]:
    for name, blocks in (("a", TRUNK[15:]), ("b", TRUNK[:18])):
        ledger(folder / name, blocks)
    return [folder / "a", folder / "b"]


WHOLE = (
    *(beside_others, one_block_a_file, single_files, a_link, shuffled_archive, both_kinds),
    *(block_files_and_a_later_ledger, two_parts_in_the_wrong_order),
)


@pytest.mark.parametrize("make", WHOLE, ids=lambda make: make.__name__)
def test_all_blocks_are_delivered_in_order(
    tmp_path: Path, make: Callable[[Path], list[Path]]
) -> None:
    read = Read(*make(tmp_path / "ledger"))
    assert (read.error, read.notices) == ("", [])
    numbers = {block: number for number, block in enumerate(TRUNK)}
    highest = -1
    for number in (numbers[block] for block in read.blocks):
        assert number <= highest + 1
        highest = max(highest, number)
    assert highest == HEIGHT - 1
    assert read.source.size == read.source.read_bytes


def test_a_ledger_that_begins_with_a_later_block_is_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a snapshot: the pipeline gets the later block, and says what to do."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    ledger(tmp_path / "ledger", TRUNK[5:])

    async def first_and_copies() -> tuple[bytes, int]:
        async with aclosing(FileSource([tmp_path / "ledger"]).blocks(0, None)) as blocks:
            first = await anext(blocks)
            return bytes(first.data), sum(
                path.is_file() for path in (tmp_path / "temporary").rglob("*")
            )

    assert asyncio.run(first_and_copies()) == (TRUNK[5], 0)


async def test_a_ledger_after_a_snapshot_is_stored_from_its_first_block_on(
    store: LedgerStore, tmp_path: Path
) -> None:
    ledger(tmp_path / "ledger", TRUNK[5:])
    error = await channel_error(store, FileSource([tmp_path / "ledger"]))
    assert "block 5: number: expected 0, got 5. Blocks are missing in between" in str(error)
    await RunningIndexer(store, [FileSource([tmp_path / "ledger"])], first=5).task
    await assert_stored(store, TRUNK[5:])
