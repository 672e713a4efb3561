"""Writes blocks into files, as `kindledger import` and the peer read them."""

from collections.abc import Iterable
from pathlib import Path


def write_block_files(folder: Path, blocks: Iterable[bytes], first: int = 0) -> Path:
    """Write the blocks into files NNNNNN.block; return the folder, which is created if absent."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, block in enumerate(blocks, first):
        (folder / f"{number:06}.block").write_bytes(block)
    return folder
