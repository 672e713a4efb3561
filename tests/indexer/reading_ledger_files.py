"""Writes a peer's ledger files, and reads them as the indexer does."""

import asyncio
import tarfile
from collections.abc import Iterable
from contextlib import aclosing
from pathlib import Path

from devnet.peer.ledger_files import write_ledger_files
from indexer.sources.file_source import FileSource
from ledger.errors import LedgerError
from tests.indexer.network import TRUNK

SPLIT = 80_000
"""A size of files that splits the trunk into several."""


class Read:
    """The blocks that a source delivers, the error that ends them, and what it says at the end."""

    def __init__(self, *paths: Path, start: int = 0) -> None:
        self.blocks: list[bytes] = []
        self.error = ""
        self.source = FileSource(paths)
        try:
            asyncio.run(self._read(start))
        except LedgerError as error:
            self.error = str(error)
        self.notices = self.source.notices

    async def _read(self, start: int) -> None:
        async with aclosing(self.source.blocks(start, None)) as blocks:
            async for each in blocks:
                self.blocks.append(bytes(each.data))


def ledger(
    folder: Path, blocks: Iterable[bytes] = TRUNK, *, max_file_bytes: int = SPLIT
) -> list[Path]:
    """Write ledger files into a folder; return them in order."""
    return sorted(write_ledger_files(folder, blocks, max_file_bytes=max_file_bytes).iterdir())


def archive(path: Path, folder: Path, names: Iterable[Path]) -> Path:
    """Write files into a tar archive, in the given order, with names relative to the folder."""
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            tar.add(name, name.relative_to(folder))
    return path
