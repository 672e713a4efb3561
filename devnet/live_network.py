"""`python -m devnet.live_network FOLDER`: a Fabric network in one process: it forges blocks for ever and serves them.

The chain is kept in the folder, so a second start goes on where the first one stopped. With `--postgres`, KindLedger's
applications are there too: they write rows for what they submit. Prints one line of JSON once it
listens: `{"port", "channel", "height"}`. Ends at SIGTERM, SIGINT, or its parent's death.
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
from devnet.shutdown import ended

IDENTITY = "identity"
TLS = "tls"
_BLOCKS = "blocks"
_STARTED = "started"
_ENTERED_AGAIN = 20
"""Blocks whose business rows are written again at a start: those that may be missing after the last end."""


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
    "--at-once",
    default=200,
    show_default=True,
    help="Blocks that a new network has from the start.",
)
@click.option(
    "--postgres",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the address of a database that has KindLedger's schema: business rows are written there.",
)
def main(
    *, folder: Path, channel: str, interval_ms: int, at_once: int, postgres: Path | None
) -> None:
    """Forge and serve a network whose chain and TLS files are kept in FOLDER."""
    dsn = None if postgres is None else postgres.read_text().strip()
    interval = timedelta(milliseconds=interval_ms)
    asyncio.run(
        _run(folder, channel, interval=interval, at_once=at_once, dsn=dsn, parent=os.getppid())
    )


async def _run(
    folder: Path, channel: str, *, interval: timedelta, at_once: int, dsn: str | None, parent: int
) -> None:
    recipe = Recipe(
        channel=channel,
        started=_started(folder, at_once * interval),
        interval_milliseconds=interval // timedelta(milliseconds=1),
        hostile_share=0.005,
    )
    recipe.network().client.write(folder / IDENTITY)
    blocks = folder / _BLOCKS
    blocks.mkdir(exist_ok=True)
    files = block_files(blocks)[1] if any(blocks.glob("*.block")) else []
    chain = forge(recipe)
    history = await asyncio.to_thread(_skip, chain, len(files))
    ledger = Ledger(files)
    for _ in range(at_once - len(files)):
        history.append(next(chain))
        ledger.append(_keep(history[-1], blocks))
    peer = Peer(
        {channel: ledger},
        tls=server_tls_from(folder / TLS, mutual=True),
        organisations=organisations(ledger.block(0)),
    )
    async with peer, asyncio.TaskGroup() as tasks:
        sys.stdout.write(
            json.dumps({"port": peer.port, "channel": channel, "height": ledger.height}) + "\n"
        )
        sys.stdout.flush()
        application = None if dsn is None else BusinessApplication(dsn)
        running = []
        if application is not None:
            for block in history:
                application.submit(block, recipe.started + block.number * interval)
            running.append(tasks.create_task(application.run()))
        running.append(tasks.create_task(_forge(chain, ledger, blocks, interval, application)))
        await ended(parent)
        for task in running:
            task.cancel()


def _started(folder: Path, history: timedelta) -> datetime:
    """The time of the genesis block, to the second: a new network looks back on some history."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _STARTED
    if not path.exists():
        path.write_text((datetime.now(UTC) - history).isoformat(timespec="seconds"))
    return datetime.fromisoformat(path.read_text())


def _skip(chain: Iterator[ForgedBlock], count: int) -> list[ForgedBlock]:
    """Go on to block `count`; returns the last ones before it.

    Forging them anew brings back what the chain depends on.
    """
    return list(deque(islice(chain, count), maxlen=_ENTERED_AGAIN))


def _keep(block: ForgedBlock, folder: Path) -> Path:
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
    """Add a block each interval; what is in it is submitted one interval before."""
    while True:
        block = next(chain)
        if application is not None:
            application.submit(block, datetime.now(UTC))
        await asyncio.sleep(interval.total_seconds())
        ledger.append(_keep(block, folder))


if __name__ == "__main__":
    main()
