"""The archive of raw blocks as configured: a folder, or a collection of the channel's database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from pymongo.asynchronous.database import AsyncDatabase

from cli.configuration.settings import Settings
from ledger.archive.folder_archive import FolderArchive, FolderRawBlocks
from ledger.mongodb.raw_block_archive import MongoArchive
from ledger.mongodb.raw_blocks import MongoRawBlocks
from ledger.raw_blocks import RawBlockArchive, RawBlocks

log = structlog.get_logger()

_IN_MONGODB = "mongodb"


def archive_folder(settings: Settings, database: str) -> Path | None:
    """Return the folder of a channel's archive, None if it is in MongoDB."""
    folder = settings.archive.folder
    return folder / database if folder is not None else None


def raw_blocks(
    settings: Settings, database: AsyncDatabase[Any], channel: str, place: str = ""
) -> RawBlocks:
    """Return the archive of a channel, for reading.

    `place` is `mongodb`, or a folder with the files of one channel; by default the configured one.
    """
    folder = Path(place) if place else archive_folder(settings, database.name)
    if folder is None or place == _IN_MONGODB:
        return MongoRawBlocks(database)
    return FolderRawBlocks(folder, channel)


@asynccontextmanager
async def raw_block_archive(
    settings: Settings, database: AsyncDatabase[Any], channel: str
) -> AsyncIterator[RawBlockArchive | None]:
    """Yield the archive of a channel, which this process writes to; None if none is kept.

    Raises `ArchiveInUseError` if another process writes to its folder, `ForeignArchiveError`, and
    `ArchiveUnavailableError`.
    """
    folder = archive_folder(settings, database.name)
    if not settings.archive.keep:
        yield None
    elif folder is None:
        yield MongoArchive(database)
    else:
        archive = FolderArchive(folder, channel)
        torn_bytes = await archive.open()
        if torn_bytes:
            log.warning(
                "torn_record_cut_off", channel=channel, folder=str(folder), bytes=torn_bytes
            )
        try:
            yield archive
        finally:
            await archive.close()
