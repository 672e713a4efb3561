"""The files of an archive: they are damaged, torn, exchanged, read while they grow, and locked."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.archive.folder_archive import FolderArchive, FolderRawBlocks
from ledger.archive.records import HEADER_BYTES, MAGIC
from ledger.errors import ArchiveInUseError, DamagedRawBlockError, ForeignArchiveError
from tests.ledger.archives import (
    CHANNEL,
    compressed,
    folder_archive,
    kept,
    read_again,
    segments,
    write_archive,
)
from tests.ledger.recorded import recorded

CHAIN = recorded("raft-2.5").blocks[:60]
WHOLE = dict(enumerate(CHAIN))


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """An archive of several files, of which the last one is not complete."""
    path = tmp_path / "archive"
    await write_archive(path, CHAIN)
    assert len(list(path.glob("*.blocks"))) > 3
    assert len(list(path.glob("*.index"))) == len(list(path.glob("*.blocks"))) - 1
    return path


def flip(path: Path, offset: int, bit: int = 0) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


async def test_indexes_are_made_again_when_they_are_missing_or_wrong(folder: Path) -> None:
    indexes = [path.with_suffix(".index") for path in segments(folder)[:-1]]
    before = [path.read_bytes() for path in indexes]
    for damage in (
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"short"),
        lambda path: flip(path, 20),
        lambda path: flip(path, path.stat().st_size - 3),
        lambda path: shutil.copy(indexes[1], path),
    ):
        damage(indexes[0])
        assert await read_again(folder) == WHOLE, "a reader does without"
        async with folder_archive(folder) as archive:
            assert await kept(archive) == WHOLE
        assert [path.read_bytes() for path in indexes] == before


@settings(max_examples=60)
@given(data=st.data())
async def test_a_changed_bit_damages_one_block_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """With the indexes of complete files, and without: a block is right, or is not given."""
    folder = tmp_path_factory.mktemp("archive")
    await write_archive(folder, CHAIN[:30])
    path = data.draw(st.sampled_from(segments(folder)))
    offset = data.draw(st.integers(0, path.stat().st_size - 1))
    flip(path, offset, data.draw(st.integers(0, 7)))
    for index in folder.glob("*.index") if data.draw(st.booleans()) else ():
        index.unlink()
    found = await read_again(folder)
    wrong = {number for number in range(30) if found.get(number) != CHAIN[number]}
    assert len(wrong) <= 1
    assert found.keys() <= set(range(30))
    for number in wrong:
        damage = found.get(number)
        assert damage is None or isinstance(damage, str), "no other bytes are given"
    async with folder_archive(folder) as archive:
        await archive.replace(compressed([CHAIN[number] for number in wrong]))
        assert await kept(archive) == dict(enumerate(CHAIN[:30]))
    assert await read_again(folder) == dict(enumerate(CHAIN[:30]))


async def test_a_truncated_file_is_named(folder: Path) -> None:
    """The blocks of the other files are not affected."""
    path = segments(folder)[1]
    os.truncate(path, path.stat().st_size // 2)
    found = await read_again(folder)
    damaged = [number for number, what in found.items() if what != CHAIN[number]]
    assert damaged
    assert found.keys() == WHOLE.keys()
    with pytest.raises(DamagedRawBlockError, match=rf"{path} at byte .*truncated") as caught:
        await FolderRawBlocks(folder, CHANNEL).raw_block(damaged[-1])
    assert "repair" in str(caught.value)
    async with folder_archive(folder) as archive:
        await archive.replace(compressed([CHAIN[number] for number in damaged]))
    assert await read_again(folder) == WHOLE


@pytest.mark.parametrize("cut", ["in the header", "in the payload", "garbage follows", "new file"])
async def test_a_torn_record_at_the_end_is_cut_off(folder: Path, cut: str) -> None:
    """As a crash of the system may leave it. The blocks before it stay, and new ones follow."""
    last = segments(folder)[-1]
    async with folder_archive(folder, 1 << 20) as archive:
        whole = last.stat().st_size
        more = compressed(recorded("raft-2.5").blocks[60:62])
        await archive.append(more)
    if cut == "in the header":
        os.truncate(last, whole + HEADER_BYTES - 1)
    elif cut == "in the payload":
        os.truncate(last, whole + HEADER_BYTES + 9)
    elif cut == "garbage follows":
        os.truncate(last, whole)
        last.write_bytes(last.read_bytes() + b"\0" * 5000 + MAGIC + bytes(100))
    else:
        os.truncate(last, whole)
        (folder / f"{last.name}.new").write_bytes(b"torn")
    assert await read_again(folder) == WHOLE
    archive = FolderArchive(folder, CHANNEL)
    assert (await archive.open() > 0) == (cut != "new file")
    await archive.append(more)
    await archive.close()
    assert await read_again(folder) == dict(enumerate(recorded("raft-2.5").blocks[:62]))


async def test_a_file_that_has_just_begun_is_continued(folder: Path) -> None:
    """The process died after it had created the file, or before it wrote the index of the last."""
    async with folder_archive(folder, 1) as archive:
        await archive.append(compressed(recorded("raft-2.5").blocks[60:61]))
        await archive.append(compressed(recorded("raft-2.5").blocks[61:62]))
    begun = segments(folder)[-1]
    begun.with_suffix(".index").unlink()
    os.truncate(begun, begun.read_bytes().index(MAGIC, 1))
    assert list(await read_again(folder)) == list(range(61))
    async with folder_archive(folder) as archive:
        await archive.append(compressed(recorded("raft-2.5").blocks[60:62]))
    assert segments(folder)[-1] == begun
    assert await read_again(folder) == dict(enumerate(recorded("raft-2.5").blocks[:62]))


async def test_a_file_without_its_description_is_read_by_the_key_of_the_others(
    folder: Path,
) -> None:
    for number in (0, len(segments(folder)) - 1):
        flip(segments(folder)[number], 7)
        assert await read_again(folder) == WHOLE
    async with folder_archive(folder) as archive:
        await archive.append(compressed(recorded("raft-2.5").blocks[60:62]))
    assert await read_again(folder) == dict(enumerate(recorded("raft-2.5").blocks[:62]))


async def test_files_of_another_archive_are_refused_by_name(folder: Path, tmp_path: Path) -> None:
    other, channel = tmp_path / "other", tmp_path / "channel"
    await write_archive(other, CHAIN)
    async with folder_archive(channel, channel="another") as archive:
        await archive.append(compressed(CHAIN[:5]))
    last = folder / "000099.blocks"
    for origin, reason in (
        (segments(other)[1], "a file of another archive of this channel"),
        (segments(channel)[0], "blocks of channel 'another', not of 'kindledger'"),
        (segments(folder)[1], "written as file 2 of the archive, and renamed"),
    ):
        shutil.copy(origin, last)
        with pytest.raises(ForeignArchiveError, match=rf"{last}: {reason}"):
            await read_again(folder)
        with pytest.raises(ForeignArchiveError, match=rf"{last}: {reason}"):
            await FolderArchive(folder, CHANNEL).open()
        last.unlink()
    assert await read_again(folder) == WHOLE, "nothing was written"
    with pytest.raises(ForeignArchiveError, match="of channel 'kindledger'"):
        await FolderArchive(folder, "another").open()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "000001.blocks").write_text("something else")
    with pytest.raises(ForeignArchiveError, match="does not begin with the description"):
        await FolderArchive(tmp_path / "text", CHANNEL).open()


async def test_what_looks_like_a_record_in_an_envelope_is_none(tmp_path: Path) -> None:
    """A client can put any bytes into an envelope, also a record of an archive of its own."""
    await write_archive(tmp_path / "forged", [CHAIN[5]])
    forged = segments(tmp_path / "forged")[0].read_bytes()
    frame = compressed([CHAIN[3]])[0]
    async with folder_archive(tmp_path / "archive") as archive:
        frame = type(frame)(frame.number, forged + frame.frame)
        await archive.append([frame, *compressed(CHAIN[4:5])])
    path = segments(tmp_path / "archive")[0]
    flip(path, path.read_bytes().index(MAGIC, 10) + 6)
    assert list(await read_again(tmp_path / "archive")) == [4]


async def test_a_second_writer_is_refused(folder: Path) -> None:
    async with folder_archive(folder):
        with pytest.raises(ArchiveInUseError, match=f"process {os.getpid()} writes to this"):
            await FolderArchive(folder, CHANNEL).open()
        assert await read_again(folder) == WHOLE, "readers need no lock"
    async with folder_archive(folder):
        pass


async def test_a_reader_follows_while_the_archive_grows(tmp_path: Path) -> None:
    """It finds each block as soon as it is appended, also in new files."""
    reader = FolderRawBlocks(tmp_path / "archive", CHANNEL)
    assert await reader.kept_range() is None
    async with folder_archive(tmp_path / "archive") as archive:
        for number, data in enumerate(CHAIN):
            assert await reader.raw_block(number) is None
            await archive.append(compressed([data]))
            assert await reader.raw_block(number) == data
            assert await reader.raw_block(number // 2) == CHAIN[number // 2]
        await archive.remove_from(40)
        assert await reader.kept_range() == await archive.kept_range()
        await archive.append(compressed(CHAIN[40:45]))
    assert await kept(reader) == dict(enumerate(CHAIN[:45]))


async def test_a_reader_notices_that_the_folder_was_exchanged(folder: Path, tmp_path: Path) -> None:
    reader = FolderRawBlocks(folder, CHANNEL)
    assert await reader.raw_block(50) == CHAIN[50]
    other = tmp_path / "other"
    await write_archive(other, CHAIN[30:], together=3)
    shutil.rmtree(folder)
    assert await reader.raw_block(50) is None
    other.rename(folder)
    assert await reader.raw_block(50) == CHAIN[50]
    assert await kept(reader) == dict(enumerate(CHAIN[30:], 30))
