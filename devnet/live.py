"""`python -m devnet.live FOLDER`: a Fabric network in one process: it forges blocks for ever and serves them.

The chain is kept in the folder, so a second start goes on where the first one stopped. Prints one line of JSON once it
listens: `{"port", "channel", "height"}`. Ends at SIGTERM, SIGINT, or its parent's death.
"""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import click

from devnet.forge.forger import ForgedBlock, Recipe, forge
from devnet.parent import ended
from devnet.peer import Ledger, Peer, block_files
from devnet.peer.channel_config import organisations
from devnet.peer.tls import server_tls_from

IDENTITY = "identity"
TLS = "tls"
_BLOCKS = "blocks"
_STARTED = "started"


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--channel", default="kindledger", show_default=True)
@click.option("--interval-ms", default=1000, show_default=True, type=click.IntRange(1), help="Time between blocks.")
@click.option("--at-once", default=200, show_default=True, help="Blocks that a new network has from the start.")
def main(*, folder: Path, channel: str, interval_ms: int, at_once: int) -> None:
    """Forge and serve a network whose chain and TLS files are kept in FOLDER."""
    asyncio.run(_run(folder, channel, interval_ms, at_once, os.getppid()))


async def _run(folder: Path, channel: str, interval_ms: int, at_once: int, parent: int) -> None:
    recipe = Recipe(
        channel=channel,
        started=_started(folder, timedelta(milliseconds=interval_ms * at_once)),
        interval_milliseconds=interval_ms,
        hostile_share=0.005,
    )
    recipe.network().client.write(folder / IDENTITY)
    blocks = folder / _BLOCKS
    blocks.mkdir(exist_ok=True)
    files = block_files(blocks)[1] if any(blocks.glob("*.block")) else []
    chain = await asyncio.to_thread(_skip, forge(recipe), len(files))
    ledger = Ledger(files)
    for _ in range(at_once - len(files)):
        ledger.append(_keep(next(chain), blocks))
    peer = Peer(
        {channel: ledger},
        tls=server_tls_from(folder / TLS, mutual=True),
        organisations=organisations(ledger.block(0)),
    )
    async with peer:
        sys.stdout.write(json.dumps({"port": peer.port, "channel": channel, "height": ledger.height}) + "\n")
        sys.stdout.flush()
        forging = asyncio.create_task(_forge(chain, ledger, blocks, interval_ms / 1000))
        await ended(parent)
        forging.cancel()


def _started(folder: Path, history: timedelta) -> datetime:
    """The time of the genesis block, to the second: a new network looks back on some history."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _STARTED
    if not path.exists():
        path.write_text((datetime.now(UTC) - history).isoformat(timespec="seconds"))
    return datetime.fromisoformat(path.read_text())


def _skip(chain: Iterator[ForgedBlock], count: int) -> Iterator[ForgedBlock]:
    """The chain from block `count` on; forging the ones before it anew brings back what it depends on."""
    for _ in islice(chain, count):
        pass
    return chain


def _keep(block: ForgedBlock, folder: Path) -> Path:
    path = folder / f"{block.number:06}.block"
    partial = path.with_suffix(".partial")
    partial.write_bytes(block.data)
    return partial.rename(path)


async def _forge(chain: Iterator[ForgedBlock], ledger: Ledger, folder: Path, interval_s: float) -> None:
    while True:
        await asyncio.sleep(interval_s)
        ledger.append(_keep(next(chain), folder))


if __name__ == "__main__":
    main()
