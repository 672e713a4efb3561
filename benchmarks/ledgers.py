"""The measured ledgers: folders of NNNNNN.block files, forged or unpacked once and cached."""

import json
import tarfile
from itertools import islice
from pathlib import Path

import click
from msgspec import Struct

from devnet.forge.forger import Recipe, forge
from devnet.peer import block_files
from indexer.sources.file_source import FileSource
from ledger.decoding.blocks import read_block

CACHE = Path(__file__).parent.parent / ".kindledger" / "bench"
FORGED_BLOCKS = 180
_FORGER_VERSION = 2
"""Increase it when the forger makes other blocks, so that cached ones are not used."""
LARGE_BLOCKS = 21
LARGE_BLOCK_TRANSACTIONS = 2_400
LIVE_FROM = 20
SIGNED_BLOCKS = 60
TENS = Recipe(seed=4, transactions_per_block=10, bulk=True, invalid_share=0.001, signed=False)
TENS_BLOCKS = 1_500


class MeasuredLedger(Struct, frozen=True):
    """A folder of blocks, and their total size in megabytes."""

    name: str
    folder: Path
    channel: str
    first: int
    height: int
    transactions: int
    megabytes: float


def forged() -> MeasuredLedger:
    """Return a ledger of more than 50,000 bulk transactions in blocks of 200 to 500."""
    recipe = Recipe(
        seed=1, transactions_per_block=range(200, 501), bulk=True, invalid_share=0.001, signed=False
    )
    return _cached("forged", recipe, FORGED_BLOCKS)


def forged_signed() -> MeasuredLedger:
    """Return a ledger of some 5,000 bulk transactions whose envelopes and endorsements are signed.

    Forging takes half a minute.
    """
    recipe = Recipe(seed=3, transactions_per_block=100, bulk=True)
    return _cached("forged-signed", recipe, SIGNED_BLOCKS)


def forged_large() -> MeasuredLedger:
    """Return a ledger with blocks of about 10 MB."""
    recipe = Recipe(
        seed=2, transactions_per_block=LARGE_BLOCK_TRANSACTIONS, bulk=True, signed=False
    )
    return _cached("forged-10MB-blocks", recipe, LARGE_BLOCKS)


def forged_tens() -> MeasuredLedger:
    """Return a ledger of nearly 15,000 transactions in blocks of 10."""
    return _cached("forged-tens", TENS, TENS_BLOCKS)


def existing(path: Path) -> MeasuredLedger:
    """Return the ledger in a folder or in an archive, which is unpacked."""
    folder = path if path.is_dir() and any(path.glob("*.block")) else _unpacked(path)
    return _describe(path.name, folder)


def _cached(name: str, recipe: Recipe, blocks: int) -> MeasuredLedger:
    folder = CACHE / f"{name}-{_FORGER_VERSION}"
    if not (folder / "complete").exists():
        click.echo(f"forging {blocks} blocks into {folder}, once", err=True)
        folder.mkdir(parents=True, exist_ok=True)
        for block in islice(forge(recipe), blocks):
            (folder / f"{block.number:06}.block").write_bytes(block.data)
        (folder / "complete").touch()
    return _describe(name, folder)


def _unpacked(path: Path) -> Path:
    folder = CACHE / path.name
    if not (folder / "complete").exists():
        click.echo(f"unpacking {path} into {folder}, once", err=True)
        folder.mkdir(parents=True, exist_ok=True)
        for archive in [path] if path.is_file() else sorted(path.rglob("*.tar*")):
            with tarfile.open(archive, "r|*") as members:
                for member in members:
                    content = (
                        members.extractfile(member) if member.name.endswith(".block") else None
                    )
                    if content is not None:
                        (folder / Path(member.name).name).write_bytes(content.read())
        (folder / "complete").touch()
    return folder


def _describe(name: str, folder: Path) -> MeasuredLedger:
    first, files = block_files(folder)
    channel = FileSource([folder]).channel()
    if channel is None:
        raise click.UsageError(f"{folder} has no block that names its channel; give another folder")
    count_file = folder / "cached_count.json" if folder.is_relative_to(CACHE) else None
    if count_file is None or not count_file.exists():
        transactions = sum(len(read_block(file.read_bytes()).codes) for file in files)
        if count_file is not None:
            count_file.write_text(json.dumps({"transactions": transactions}))
    else:
        transactions = json.loads(count_file.read_text())["transactions"]
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    return MeasuredLedger(name, folder, channel, first, first + len(files), transactions, megabytes)
