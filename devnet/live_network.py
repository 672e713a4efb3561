"""`python -m devnet.live_network FOLDER`: a Fabric network that forges a block each interval.

The folder holds the chain, so a second start continues where the first ended. With `--postgres`
the simulated business application runs too and writes a row for each transaction.

Two peers, of two organisations, serve the chain. The process prints one line of JSON once they
listen: `{"port", "second_port", "channel", "height"}`. It ends at SIGTERM, at SIGINT, or when its
parent process ends.
"""

import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import click

from devnet.application import BusinessApplication
from devnet.forge.forger import ForgedBlock, Recipe, forge
from devnet.peer import Ledger, Peer, block_files
from devnet.peer.channel_config import organisations
from devnet.peer.tls import server_tls_from
from devnet.shutdown import wait_for_shutdown

IDENTITY = "identity"
TLS = "tls"
_BLOCKS = "blocks"
_START_TIME = "started"
_RESUBMITTED_BLOCKS = 20
"""The last blocks whose rows are written again at a start: the previous end may have lost them."""


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--channel", default="kindledger", show_default=True)
@click.option(
    "--interval-ms",
    default=1000,
    show_default=True,
    type=click.IntRange(1),
    help="Time between blocks.",
)
@click.option(
    "--initial-blocks",
    default=200,
    show_default=True,
    help="Blocks of a new network at its start.",
)
@click.option(
    "--postgres",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the address of a database with KindLedger's schema, for business rows.",
)
def main(
    *, folder: Path, channel: str, interval_ms: int, initial_blocks: int, postgres: Path | None
) -> None:
    """Forge and serve a network whose chain and TLS files are in FOLDER."""
    dsn = None if postgres is None else postgres.read_text().strip()
    interval = timedelta(milliseconds=interval_ms)
    recipe = Recipe(
        channel=channel,
        started=_start_time(folder, initial_blocks * interval),
        interval_milliseconds=interval_ms,
        hostile_share=0.005,
    )
    asyncio.run(_run(folder, recipe, initial_blocks, dsn, parent=os.getppid()))


async def _run(
    folder: Path, recipe: Recipe, initial_blocks: int, dsn: str | None, *, parent: int
) -> None:
    recipe.network().client.write(folder / IDENTITY)
    blocks = folder / _BLOCKS
    chain, ledger, recent = await asyncio.to_thread(_resume, recipe, blocks, initial_blocks)
    peer, second_peer = (
        Peer(
            {recipe.channel: ledger},
            tls=server_tls_from(folder / TLS, mutual=True),
            organisations=organisations(ledger.block(0)),
        )
        for _ in range(2)
    )
    interval = timedelta(milliseconds=recipe.interval_milliseconds)
    async with peer, second_peer, asyncio.TaskGroup() as tasks:
        ready = {
            "port": peer.port,
            "second_port": second_peer.port,
            "channel": recipe.channel,
            "height": ledger.height,
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        application = None if dsn is None else BusinessApplication(dsn)
        running = []
        if application is not None:
            for block in recent:
                application.submit(block, recipe.started + block.number * interval)
            running.append(tasks.create_task(application.run()))
        running.append(tasks.create_task(_forge(chain, ledger, blocks, interval, application)))
        await wait_for_shutdown(parent)
        for task in running:
            task.cancel()


def _start_time(folder: Path, history: timedelta) -> datetime:
    """Return the time of the genesis block; for a new network it lies `history` in the past."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _START_TIME
    if not path.exists():
        path.write_text((datetime.now(UTC) - history).isoformat(timespec="seconds"))
    return datetime.fromisoformat(path.read_text())


def _resume(
    recipe: Recipe, folder: Path, initial_blocks: int
) -> tuple[Iterator[ForgedBlock], Ledger, list[ForgedBlock]]:
    """Return the chain after its stored blocks, the ledger, and the blocks to submit again.

    Stored blocks are forged again, because each block depends on the state that its predecessors
    leave. A new network gets its initial blocks here.
    """
    folder.mkdir(exist_ok=True)
    files = block_files(folder)[1] if any(folder.glob("*.block")) else []
    chain = forge(recipe)
    recent = list(deque(islice(chain, len(files)), maxlen=_RESUBMITTED_BLOCKS))
    for _ in range(initial_blocks - len(files)):
        recent.append(next(chain))
        files.append(_save(recent[-1], folder))
    return chain, Ledger(files), recent


def _save(block: ForgedBlock, folder: Path) -> Path:
    path = folder / f"{block.number:06}.block"
    partial = path.with_suffix(".partial")
    partial.write_bytes(block.data)
    return partial.rename(path)


async def _forge(
    chain: Iterator[ForgedBlock],
    ledger: Ledger,
    folder: Path,
    interval: timedelta,
    application: BusinessApplication | None,
) -> None:
    """Append a block each interval; its transactions are submitted one interval earlier."""
    while True:
        block = next(chain)
        if application is not None:
            application.submit(block, datetime.now(UTC))
        await asyncio.sleep(interval.total_seconds())
        ledger.append(_save(block, folder))


if __name__ == "__main__":
    main()
