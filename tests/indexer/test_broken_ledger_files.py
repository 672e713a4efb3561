"""A peer's ledger files that are not whole: what is right is read, and a message says the rest."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from devnet.peer.ledger_files import ledger_record
from indexer.sources.file_source import FileSource
from ledger.errors import LedgerError
from tests.indexer.network import HEIGHT, OTHER, TRUNK
from tests.indexer.reading_ledger_files import Read, archive, ledger


def unfinished(folder: Path) -> Path:
    *_, last = ledger(folder)
    last.write_bytes(last.read_bytes()[:-1])
    return folder


def unfinished_archive(folder: Path) -> Path:
    files = sorted(unfinished(folder).iterdir())
    return archive(folder.with_suffix(".tar.gz"), folder, [files[-1], *files[:-1]])


def just_begun(folder: Path) -> Path:
    files = ledger(folder)
    (folder / f"blockfile_{len(files):06}").write_bytes(ledger_record(TRUNK[-1])[:1])
    return folder


@pytest.mark.parametrize(
    ("make", "whole_blocks"),
    [(unfinished, HEIGHT - 1), (unfinished_archive, HEIGHT - 1), (just_begun, HEIGHT)],
)
def test_an_unfinished_last_block_is_no_error(
    tmp_path: Path, make: Callable[[Path], Path], whole_blocks: int
) -> None:
    read = Read(make(tmp_path / "ledger"))
    assert (read.blocks, read.error) == (list(TRUNK[:whole_blocks]), "")
    (notice,) = read.notices
    assert f"ends within block {whole_blocks}: the peer is still writing it, or the" in notice
    assert read.source.read_bytes == read.source.size


def torn_in_between(folder: Path) -> Path:
    first, *_ = ledger(folder)
    first.write_bytes(first.read_bytes()[:-1])
    return folder


def torn_in_an_archive(folder: Path) -> Path:
    files = sorted(torn_in_between(folder).iterdir())
    return archive(folder.with_suffix(".tar.gz"), folder, files)


def torn_last_in_an_archive(folder: Path) -> Path:
    files = sorted(torn_in_between(folder).iterdir())
    return archive(folder.with_suffix(".tar.gz"), folder, [*files[1:], files[0]])


TORN = (torn_in_between, torn_in_an_archive, torn_last_in_an_archive)


@pytest.mark.parametrize("make", TORN, ids=lambda make: make.__name__)
def test_an_incomplete_file_before_the_last_one_is_an_error(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    folder = tmp_path / "ledger"
    first = ledger(tmp_path / "whole")[0].stat().st_size
    read = Read(make(folder))
    last = len(read.blocks)
    assert 1 < last < HEIGHT - 1
    assert read.blocks == list(TRUNK[:last])
    begin = first - len(ledger_record(TRUNK[last]))
    assert f"blockfile_000000: the record of block {last} at byte {begin} cannot be" in read.error
    assert "follows. The file was changed, or its copy is not complete" in read.error
    assert read.notices == []


def test_a_changed_length_and_a_missing_part_are_errors(tmp_path: Path) -> None:
    (file,) = ledger(tmp_path / "ledger", max_file_bytes=64 << 20)
    whole = file.read_bytes()
    ends = [0]
    for block in TRUNK:
        ends.append(ends[-1] + len(ledger_record(block)))
    changed = bytearray(whole)
    changed[ends[4] + 1] += 1
    file.write_bytes(changed)
    read = Read(file)
    assert read.blocks == list(TRUNK[:4])
    assert f"{file}: the record of block 4 at byte {ends[4]} cannot be read" in read.error
    file.write_bytes(whole[: ends[4]] + whole[ends[7] :])
    read = Read(file)
    assert read.blocks == list(TRUNK[:4])
    assert "block 4 at byte" in read.error
    assert "the record is that of block 7" in read.error


def test_the_ledgers_of_several_channels_are_named(tmp_path: Path) -> None:
    chains = tmp_path / "chains"
    ledger(chains / "alpha")
    ledger(chains / "beta", OTHER)
    names = f"one for each channel: {chains / 'alpha'}, {chains / 'beta'}. An import reads one"
    with pytest.raises(LedgerError) as caught:
        FileSource([chains])
    assert names in str(caught.value)
    files = sorted(chains.rglob("blockfile_*"))
    read = Read(archive(tmp_path / "chains.tar.gz", tmp_path, files))
    assert read.blocks == list(TRUNK)
    assert "chains.tar.gz: has ledger files in several folders" in read.error
    assert "chains/alpha, chains/beta. " in read.error


def test_a_truncated_archive_and_a_link_in_it_are_errors(tmp_path: Path) -> None:
    files = ledger(tmp_path / "ledger")
    path = tmp_path / "cut.tar"
    with tarfile.open(path, "w") as tar:
        for file in files:
            tar.add(file, file.name)
    path.write_bytes(path.read_bytes()[: sum(file.stat().st_size for file in files) // 2])
    read = Read(path)
    assert f"{path}: not a whole archive of block files" in read.error
    assert read.blocks == list(TRUNK[: len(read.blocks)])
    assert 1 < len(read.blocks) < HEIGHT
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        link = tarfile.TarInfo("blockfile_000000")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert Read(tmp_path / "link.tar").blocks == []
