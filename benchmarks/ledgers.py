"""The ledgers that are measured: folders of NNNNNN.block files, forged or unpacked once and kept."""

import json
import tarfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import click

from devnet.forge.forger import Recipe, forge
from devnet.peer import block_files
from indexer.file_source import FileSource
from ledger.decoding.blocks import read_block

CACHE = Path(__file__).parent.parent / ".kindledger" / "bench"
FORGED_BLOCKS = 180
LARGE_BLOCKS = 21
LARGE_BLOCK_TRANSACTIONS = 2_400
LIVE_FROM = 20
LIVE_BLOCKS = 200
TENS = Recipe(seed=4, transactions_per_block=10, bulk=True, invalid_share=0.001, signed=False)
TENS_BLOCKS = 1_500


@dataclass(frozen=True)
class MeasuredLedger:
    """A folder of blocks; `megabytes` is their size."""

    name: str
    folder: Path
    channel: str
    first: int
    height: int
    transactions: int
    megabytes: float


def forged() -> MeasuredLedger:
    """More than 50,000 transactions in blocks of 200 to 500, as a client that submits in bulk makes them."""
    recipe = Recipe(
        seed=1, transactions_per_block=range(200, 501), bulk=True, invalid_share=0.001, signed=False
    )
    return _kept("forged", recipe, FORGED_BLOCKS)


def forged_large() -> MeasuredLedger:
    """Blocks of about 10 MB each."""
    recipe = Recipe(
        seed=2, transactions_per_block=LARGE_BLOCK_TRANSACTIONS, bulk=True, signed=False
    )
    return _kept("forged-10MB-blocks", recipe, LARGE_BLOCKS)


def forged_small() -> MeasuredLedger:
    """Everyday blocks of a few transactions, to be released one by one."""
    return _kept("forged-everyday", Recipe(seed=3, signed=False), LIVE_FROM + LIVE_BLOCKS)


def forged_tens() -> MeasuredLedger:
    """Blocks of 10 transactions, nearly 15,000 in all."""
    return _kept("forged-tens", TENS, TENS_BLOCKS)


def given(path: Path) -> MeasuredLedger:
    """The blocks of a folder, or of an archive, which is unpacked."""
    folder = path if path.is_dir() and any(path.glob("*.block")) else _unpacked(path)
    return _described(path.name, folder)


def _kept(name: str, recipe: Recipe, blocks: int) -> MeasuredLedger:
    folder = CACHE / name
    if not (folder / "complete").exists():
        click.echo(f"forging {blocks} blocks into {folder}, once", err=True)
        folder.mkdir(parents=True, exist_ok=True)
        for block in islice(forge(recipe), blocks):
            (folder / f"{block.number:06}.block").write_bytes(block.data)
        (folder / "complete").touch()
    return _described(name, folder)


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


def _described(name: str, folder: Path) -> MeasuredLedger:
    first, files = block_files(folder)
    channel = FileSource([folder]).channel()
    if channel is None:
        raise click.UsageError(f"{folder}: no block names its channel")
    facts = folder / "facts.json" if folder.is_relative_to(CACHE) else None
    if facts is None or not facts.exists():
        transactions = sum(len(read_block(file.read_bytes()).codes) for file in files)
        if facts is not None:
            facts.write_text(json.dumps({"transactions": transactions}))
    else:
        transactions = json.loads(facts.read_text())["transactions"]
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    return MeasuredLedger(name, folder, channel, first, first + len(files), transactions, megabytes)
