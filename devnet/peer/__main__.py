"""`python -m devnet.peer FOLDER --channel NAME`: a peer in a process of its own, on this machine only.

Prints one line of JSON once it listens, `{"port", "channel", "first", "height"}`, and with --announce another one for
each block released, `{"block", "released"}` (seconds since 1970). Ends at SIGTERM, SIGINT, or its parent's death.
"""

import asyncio
import json
import math
import os
import sys
import time
from pathlib import Path

import click
import structlog

from devnet.peer.peer_ledger import Ledger, block_files
from devnet.peer.server import Peer
from devnet.peer.tls import server_tls_from
from devnet.shutdown import wait_for_shutdown


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--channel", required=True, help="Name of the channel that the blocks belong to.")
@click.option("--port", default=0, show_default="a free one")
@click.option(
    "--tls-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Use TLS; made there if absent.",
)
@click.option(
    "--mutual-tls", is_flag=True, help="Demand a certificate of --tls-dir's authority from clients."
)
@click.option("--live-from", type=int, help="Hold this block and all later ones back at first.")
@click.option(
    "--live-rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Release so many blocks a second.",
)
@click.option("--announce", is_flag=True, help="Print the time of each release.")
def main(
    *,
    folder: Path,
    channel: str,
    port: int,
    tls_dir: Path | None,
    mutual_tls: bool,
    live_from: int | None,
    live_rate: float | None,
    announce: bool,
) -> None:
    """Serve the files NNNNNN.block of FOLDER.

    Blocks held back are released one by one, from when the first client has read all others.
    """
    parent = os.getppid()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if (live_from is None) != (live_rate is None) or (announce and live_rate is None):
        raise click.UsageError("--live-from and --live-rate go together, and --announce needs them")
    if mutual_tls and tls_dir is None:
        raise click.UsageError("--mutual-tls needs --tls-dir")
    ledger, held_back = _split(folder, live_from)
    tls = None if tls_dir is None else server_tls_from(tls_dir, mutual=mutual_tls)
    peer = Peer({channel: ledger}, tls=tls, port=port)

    async def serve() -> None:
        async with peer, asyncio.TaskGroup() as tasks:
            _print(
                {
                    "port": peer.port,
                    "channel": channel,
                    "first": ledger.first,
                    "height": ledger.height,
                }
            )
            release = tasks.create_task(
                _release(ledger, held_back, live_rate or math.inf, announce=announce)
            )
            await wait_for_shutdown(parent)
            release.cancel()

    asyncio.run(serve())


def _split(folder: Path, live_from: int | None) -> tuple[Ledger, list[Path]]:
    """What is served from the start, and the files held back."""
    try:
        first, files = block_files(folder)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    height = first + len(files)
    split = height if live_from is None else live_from
    if not first <= split <= height:
        raise click.UsageError(
            f"--live-from {split}, but the folder holds blocks {first} to {height - 1}"
        )
    return Ledger(files[: split - first], first=first), files[split - first :]


async def _release(ledger: Ledger, held_back: list[Path], rate: float, *, announce: bool) -> None:
    """Append at an even pace, `rate` blocks a second, that no delay of one block changes for the others."""
    await ledger.caught_up.wait()
    start = time.monotonic()
    for index, path in enumerate(held_back):
        await asyncio.sleep(start + index / rate - time.monotonic())
        number, released = ledger.height, time.time()
        ledger.append(path)
        if announce:
            _print({"block": number, "released": released})


def _print(line: dict[str, str | int | float]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
