"""`python -m devnet.peer FOLDER --channel NAME`: a separate process with a peer on 127.0.0.1.

The process prints one line of JSON once it listens: `{"port", "channel", "first", "height"}`. With
`--announce` it prints a line for each released block: `{"block", "released"}`, in seconds since
1970. It ends at SIGTERM, at SIGINT, or when its parent process ends.
"""

import asyncio
import json
import math
import os
import sys
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path

import click
import structlog

from devnet.peer.lies import Lie, lying_ledger
from devnet.peer.peer_ledger import Ledger
from devnet.peer.server import Peer
from devnet.peer.tls import server_tls_from
from devnet.shutdown import wait_for_shutdown


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--channel", required=True, help="Name of the channel of the blocks.")
@click.option("--port", default=0, show_default="a free one")
@click.option(
    "--tls-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Use TLS with the files of this folder, which are created if absent.",
)
@click.option(
    "--mutual-tls", is_flag=True, help="Require client certificates of the authority in --tls-dir."
)
@click.option("--live-from", type=int, help="Hold back this block and all later blocks at first.")
@click.option(
    "--live-rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Blocks to release per second.",
)
@click.option(
    "--lie",
    type=click.Choice([lie.value for lie in Lie]),
    help="Serve another chain than the folder's: flip calls a failed transaction VALID, "
    "flip-consistent does so with commit hashes that follow from it, forge makes up a block, "
    "surplus adds a transaction to a block.",
)
@click.option("--lie-from", type=click.IntRange(1), help="The first block that may be a lie.")
@click.option("--announce", is_flag=True, help="Print the time when each block is released.")
def main(
    *,
    folder: Path,
    channel: str,
    port: int,
    tls_dir: Path | None,
    mutual_tls: bool,
    live_from: int | None,
    live_rate: float | None,
    lie: str | None,
    lie_from: int | None,
    announce: bool,
) -> None:
    """Serve the files NNNNNN.block of FOLDER.

    The first client that has read all other blocks starts the release of the blocks held back.
    """
    parent = os.getppid()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if (live_from is None) != (live_rate is None) or (announce and live_rate is None):
        raise click.UsageError(
            "--live-from and --live-rate need each other, and --announce needs both"
        )
    if mutual_tls and tls_dir is None:
        raise click.UsageError("--mutual-tls needs --tls-dir")
    if (lie is None) != (lie_from is None):
        raise click.UsageError("--lie and --lie-from need each other")
    whole, height = _split_blocks(folder, live_from)
    if lie is not None and lie_from is not None:
        keeps_blocks = Lie(lie) in (Lie.FLIP, Lie.FLIP_CONSISTENT)
        whole = _lie(whole if keeps_blocks else whole.part(height=height), Lie(lie), lie_from)
        height = height if keeps_blocks else whole.height
    ledger = whole.part(height=height)
    tls = None if tls_dir is None else server_tls_from(tls_dir, mutual=mutual_tls)
    peer = Peer({channel: ledger}, tls=tls, port=port)
    release = partial(_release, ledger, whole, live_rate or math.inf, announce=announce)
    asyncio.run(_serve(peer, channel, ledger, release, parent))


async def _serve(
    peer: Peer,
    channel: str,
    ledger: Ledger,
    release: Callable[[], Coroutine[None, None, None]],
    parent: int,
) -> None:
    async with peer, asyncio.TaskGroup() as tasks:
        _print(
            {
                "port": peer.port,
                "channel": channel,
                "first": ledger.first,
                "height": ledger.height,
            }
        )
        releasing = tasks.create_task(release())
        await wait_for_shutdown(parent)
        releasing.cancel()


def _split_blocks(folder: Path, live_from: int | None) -> tuple[Ledger, int]:
    """Return the whole ledger, and the height that is served from the start."""
    try:
        whole = Ledger.from_folder(folder)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    split = whole.height if live_from is None else live_from
    if not whole.first <= split <= whole.height:
        raise click.UsageError(
            f"--live-from {split} is not among the blocks of the folder: {whole.first} to "
            f"{whole.height - 1}"
        )
    return whole, split


def _lie(honest: Ledger, lie: Lie, first: int) -> Ledger:
    try:
        return lying_ledger(honest, lie, first)
    except (LookupError, ValueError) as error:
        raise click.UsageError(f"--lie {lie} --lie-from {first}: {error}") from error


async def _release(ledger: Ledger, whole: Ledger, rate: float, *, announce: bool) -> None:
    """Append the other blocks of the whole ledger, `rate` per second.

    The delay of one block does not delay later blocks.
    """
    await ledger.caught_up.wait()
    start = time.monotonic()
    for index, number in enumerate(range(ledger.height, whole.height)):
        await asyncio.sleep(start + index / rate - time.monotonic())
        released = time.time()
        ledger.append(whole.unread(number))
        if announce:
            _print({"block": number, "released": released})


def _print(line: dict[str, str | int | float]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
