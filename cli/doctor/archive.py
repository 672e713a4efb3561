"""Checks the folder of the archive of raw blocks, if one is configured: its rights and its space.

Nothing is written.
"""

import asyncio
import os
import shutil
from pathlib import Path
from typing import Final

from cli.configuration.settings import Settings
from cli.doctor.checks import Check, Outcome, skipped
from cli.errors import Exit

_NAME: Final = "archive"
_LITTLE_BYTES: Final = 10 << 30
"""Less free space is a warning: it is room for about 25 million transactions."""


async def check_archive(settings: Settings) -> list[Check]:
    """Check where raw blocks are kept."""
    archive = settings.archive
    if not archive.keep:
        return [skipped(_NAME, "archive.keep is off: no raw block is kept")]
    if archive.folder is None:
        return [Check(_NAME, Outcome.OK, "raw blocks are kept in MongoDB")]
    has_peers = settings.fabric.peers or settings.fabric.connection_profile is not None
    return [await asyncio.to_thread(_check_folder, archive.folder, writes=bool(has_peers))]


def _check_folder(folder: Path, *, writes: bool) -> Check:
    """Check an existing folder, or the one in which it would be created."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    needed = os.R_OK | os.X_OK | (os.W_OK if writes else 0)
    if not existing.is_dir() or not os.access(existing, needed):
        what = "written" if writes else "read"
        advice = f"Give this user the right, or change archive.folder ({folder})."
        detail = f"{existing} cannot be {what} by this user, or is no folder"
        return Check(_NAME, Outcome.FAILED, detail, advice, Exit.CONFIGURATION)
    if existing != folder and not writes:
        advice = "Check that the volume is mounted, or let the daemon create the folder."
        return Check(_NAME, Outcome.WARNING, f"{folder} does not exist", advice)
    free = shutil.disk_usage(existing).free
    detail = f"{folder}, {free / (1 << 30):,.1f} GiB free"
    if writes and free < _LITTLE_BYTES:
        advice = (
            "A transaction takes about 430 bytes. When the volume is full, indexing waits: make "
            "room, or move the folder to a larger volume."
        )
        return Check(_NAME, Outcome.WARNING, detail, advice)
    return Check(_NAME, Outcome.OK, detail)
