"""`kindledger import`: for any files, the store is right and the message helps."""

import io
import json
import lzma
import random
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import pytest
from pymongo import AsyncMongoClient

from devnet.peer import block_edits
from ledger.decoding.blocks import read_block
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.store import LedgerStore
from tests.block_files import write_block_files
from tests.indexer.network import BRANCH, FORK, HEIGHT, OTHER, TRUNK, assert_stored
from tests.indexer.processes import Ended, result
from tests.indexer.support import (
    EndingSource,
    assert_whole_prefix,
    expected_documents,
    index,
    stored_documents,
)


class Import(Protocol):
    async def __call__(self, *arguments: str | Path, **environment: str) -> Ended: ...


@pytest.fixture
def importing(mongo_uri: str, store: LedgerStore) -> Import:
    """Return a function that runs the command on the test's own database."""

    async def run(*arguments: str | Path, **environment: str) -> Ended:
        return await result(
            "import",
            *arguments,
            *("--database", store.database.name),
            **({"KINDLEDGER_MONGO__URI": mongo_uri} | environment),
        )

    return run


def archive(path: Path, numbers: Iterable[int] = range(HEIGHT)) -> Path:
    """Write a tar archive (`.tar` or `.tar.xz`) of the trunk's blocks in this order."""
    contents = io.BytesIO()
    with tarfile.open(fileobj=contents, mode="w") as tar:
        for number in numbers:
            member = tarfile.TarInfo(f"ledger/{number:06}.block")
            member.size = len(TRUNK[number])
            tar.addfile(member, io.BytesIO(TRUNK[number]))
    path.write_bytes(
        contents.getvalue() if path.suffix == ".tar" else lzma.compress(contents.getvalue())
    )
    return path


async def test_a_second_import_writes_nothing(
    importing: Import, mongo: AsyncMongoClient[dict[str, Any]], store: LedgerStore, tmp_path: Path
) -> None:
    """The oplog has no write to the three collections after the first import."""
    folder = write_block_files(tmp_path, TRUNK)
    namespaces = {
        "ns": {"$in": [f"{store.database.name}.{name}" for name in (BLOCKS, TRANSACTIONS, EVENTS)]}
    }
    transactions, events = (len(expected_documents(TRUNK)[name]) for name in (TRANSACTIONS, EVENTS))

    first = await importing(folder)
    assert first.code == 0
    assert f"{HEIGHT} new blocks, {transactions} transactions, {events} events" in first.stderr
    assert "0 blocks were already stored" in first.stderr
    assert "kindledger verify" not in first.stderr
    assert f"height {HEIGHT}" in first.stdout
    writes = await mongo.local["oplog.rs"].count_documents(namespaces)
    assert writes >= HEIGHT

    second = await importing(folder)
    assert second.code == 0
    assert "0 new blocks, 0 transactions, 0 events" in second.stderr
    assert f"{HEIGHT} blocks were already stored" in second.stderr
    assert second.stdout == first.stdout
    assert await mongo.local["oplog.rs"].count_documents(namespaces) == writes
    await assert_stored(store, TRUNK)


async def test_a_second_import_says_that_it_does_not_compare_all_documents(
    importing: Import, store: LedgerStore, tmp_path: Path
) -> None:
    """A document was altered after the first import; only the hashes are compared."""
    await index(store, EndingSource(TRUNK[:20]))
    await store.database[TRANSACTIONS].update_one({"blockNumber": 9}, {"$set": {"args": ["0"]}})
    again = await importing(write_block_files(tmp_path, TRUNK), "--json")
    assert (again.code, json.loads(again.stdout)["alreadyStored"]) == (0, 20)
    assert "20 blocks were already stored" in again.stderr
    assert (
        "were compared by header hash, validation codes and commit hash only. `kindledger verify "
        "--source PATH` compares all their documents"
    ) in again.stderr


async def test_the_order_and_repetition_of_files_do_not_matter(
    importing: Import, store: LedgerStore, tmp_path: Path
) -> None:
    """An archive has every block twice, shuffled; some of them are also files."""
    numbers = [*range(HEIGHT), *range(HEIGHT)]
    random.Random(3).shuffle(numbers)
    archive(tmp_path / "z.tar.xz", numbers)
    write_block_files(tmp_path / "some", TRUNK[4:9], first=4)
    ended = await importing(tmp_path)
    assert (ended.code, f"{HEIGHT + 5} blocks were already stored" in ended.stderr) == (0, True)
    await assert_stored(store, TRUNK)


@pytest.mark.parametrize("suffix", [".tar", ".tar.xz"])
async def test_a_truncated_archive_is_imported_up_to_its_end(
    importing: Import, store: LedgerStore, tmp_path: Path, suffix: str
) -> None:
    whole = archive(tmp_path / f"whole{suffix}")
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 9 // 10])
    ended = await importing(cut)
    assert ended.code == 65
    assert f"kindledger: {cut}: not a whole archive of block files" in ended.stderr
    assert "repeat the import" in ended.stderr
    stored = await stored_documents(store.database)
    assert_whole_prefix(stored, expected_documents(TRUNK))
    assert HEIGHT // 2 < len(stored[BLOCKS]) < HEIGHT
    ended = await importing(whole)
    assert ended.code == 0
    await assert_stored(store, TRUNK)


def flipped(folder: Path) -> Path:
    write_block_files(folder, TRUNK)
    (folder / "000014.block").write_bytes(block_edits.flip_envelope(1)(TRUNK[14]))
    return folder


def cut_off(folder: Path) -> Path:
    write_block_files(folder, TRUNK)
    (folder / "000014.block").write_bytes(TRUNK[14][:-7])
    return folder


def no_file(folder: Path) -> Path:
    write_block_files(folder, TRUNK)
    (folder / "000014.block").unlink()
    return folder


def two_channels(folder: Path) -> Path:
    write_block_files(folder / "a", TRUNK[:14])
    write_block_files(folder / "b", OTHER)
    return folder


def two_channels_one_after_the_other(folder: Path) -> Path:
    write_block_files(folder / "a", TRUNK[:14])
    write_block_files(folder / "b", OTHER[14:], first=14)
    return folder


DATA_HASH = read_block(TRUNK[14]).data_hash.hex()
BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a flipped bit": (flipped, f"(of the envelopes), got {DATA_HASH}"),
    "a block cut off": (cut_off, "000014.block: expected a serialized common.Block, got "),
    "a gap": (no_file, "block 15: number: expected 14, got 15. Blocks are missing in between"),
    "two channels": (two_channels, "or the files are of two channels"),
    "two channels in a row": (
        two_channels_one_after_the_other,
        "block 14: channel_id: expected 'kindledger', got 'bystander'",
    ),
}


@pytest.mark.parametrize(("make", "complaint"), BAD.values(), ids=BAD)
async def test_a_bad_file_ends_the_import_after_the_blocks_before_it(
    importing: Import,
    store: LedgerStore,
    tmp_path: Path,
    make: Callable[[Path], Path],
    complaint: str,
) -> None:
    ended = await importing(make(tmp_path / "blocks"))
    assert ended.code == 65
    message = ended.stderr.splitlines()[-1]
    assert message.startswith("kindledger: ")
    assert complaint in message
    await assert_stored(store, TRUNK[:14])


async def test_a_fork_of_the_stored_ledger_is_rejected(
    importing: Import, store: LedgerStore, tmp_path: Path
) -> None:
    await importing(write_block_files(tmp_path / "trunk", TRUNK[:20]))
    here, there = (read_block(chain[FORK]).hash.hex() for chain in (TRUNK, BRANCH))
    ended = await importing(write_block_files(tmp_path / "branch", BRANCH))
    assert ended.code == 65
    assert (
        f"block {FORK}: hash: expected {here}, got {there}. The source and the stored ledger are"
        in ended.stderr
    )
    await assert_stored(store, TRUNK[:20])


async def test_messages_name_files_without_blocks(
    importing: Import, store: LedgerStore, tmp_path: Path
) -> None:
    for name, content, complaint in (
        ("notes.txt", b"not an archive" * 100, "notes.txt: not a whole archive of block files"),
        (
            "zero.block",
            b"",
            "zero.block: expected a serialized common.Block, got 0 bytes without a block header",
        ),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        ended = await importing(path)
        assert (ended.code, complaint in ended.stderr) == (65, True), ended
    (tmp_path / "empty").mkdir()
    ended = await importing(tmp_path / "empty")
    assert (ended.code, "no block file with a valid transaction" in ended.stderr) == (65, True)
    await assert_stored(store, [])


async def test_a_ledger_that_begins_later_needs_an_option(
    importing: Import, store: LedgerStore, tmp_path: Path
) -> None:
    folder = write_block_files(tmp_path, TRUNK[5:], first=5)
    ended = await importing(folder)
    assert (ended.code, "block 5: number: expected 0, got 5" in ended.stderr) == (65, True)
    await assert_stored(store, [])
    assert (await importing(folder, "--start", "5")).code == 0
    await assert_stored(store, TRUNK[5:])


async def test_no_mongodb_and_a_wrong_configuration_have_their_own_exit_codes(
    importing: Import, tmp_path: Path
) -> None:
    folder = write_block_files(tmp_path / "blocks", TRUNK[:1])
    unavailable = await importing(
        folder, KINDLEDGER_MONGO__URI="mongodb://127.0.0.1:1/?replicaSet=kindledger"
    )
    assert unavailable.code == 69
    assert "127.0.0.1:1: " in unavailable.stderr
    assert "kindledger doctor" in unavailable.stderr
    (tmp_path / "kindledger.toml").write_text("[indexer]\npol_s = 3\nstall_s = -1\n")
    misspelt = {
        "KINDLEDGER_CONFIG": str(tmp_path / "kindledger.toml"),
        "KINDLEDGER_MONGO_URI": "mongodb://127.0.0.1",
    }
    wrong = await importing(folder, **misspelt)
    assert wrong.code == 78
    assert (
        "KINDLEDGER_MONGO_URI: unknown variable, did you mean KINDLEDGER_MONGO__URI?"
        in wrong.stderr
    )
    assert (
        "indexer.pol_s (KINDLEDGER_INDEXER__POL_S): unknown key, did you mean indexer.poll_s?"
        in wrong.stderr
    )
    assert (
        "indexer.stall_s (KINDLEDGER_INDEXER__STALL_S): Input should be greater than 0"
        in wrong.stderr
    )
