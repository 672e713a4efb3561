"""`python -m benchmarks.stream_load PART …`: clients with open streams, or a growing ledger.

Each part prints a line of JSON once it runs, and ends at SIGTERM or with its parent process.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from itertools import islice
from typing import Any, Final

import click
from pymongo import AsyncMongoClient

from benchmarks.ledgers import TENS
from cli.assembly.channel import new_progress
from cli.configuration.settings import LogSettings
from cli.output.logs import configure_logs
from devnet.forge.forger import forge
from devnet.shutdown import wait_for_shutdown
from indexer.pipeline.channel_indexer import ChannelIndexer
from indexer.sources.block_source import DeliveredBlock, delivered_block
from ledger.mongodb.store import LedgerStore
from runtime.process import tune_process
from runtime.process_start import prepare_libraries

_CONNECTIONS_PER_BATCH: Final = 50
_OPEN_TIMEOUT_S: Final = 60.0
_BLOCK_INTERVAL_S: Final = 1.0


@click.group()
def main() -> None:
    """Run one part of the load."""
    prepare_libraries()


@main.command()
@click.option("--port", required=True, type=int)
@click.option("--path", required=True)
@click.option("--count", required=True, type=int)
def hold(*, port: int, path: str, count: int) -> None:
    """Open `count` streams and read them; at the end print the messages and open streams."""
    asyncio.run(_hold(port, path, count))


class _Stream(asyncio.Protocol):
    def __init__(self, request: bytes) -> None:
        self._request = request
        self.began: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.messages = 0
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP has this type
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.messages += data.count(b"\n\n")
        if self.began.done():
            return
        if data.startswith(b"HTTP/1.1 200 "):
            self.began.set_result(None)
        else:
            self.began.set_exception(RuntimeError(f"no stream: {data[:200]!r}"))

    def connection_lost(self, _: Exception | None) -> None:
        self.is_open = False
        if not self.began.done():
            self.began.set_exception(RuntimeError("the stream was closed before it began"))


async def _hold(port: int, path: str, count: int) -> None:
    parent, loop = os.getppid(), asyncio.get_running_loop()
    headers = f"Host: 127.0.0.1:{port}\r\nAccept: text/event-stream"
    request = f"GET {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode()
    streams: list[_Stream] = []
    async with asyncio.timeout(_OPEN_TIMEOUT_S):
        while len(streams) < count:
            batch = [
                loop.create_connection(lambda: _Stream(request), "127.0.0.1", port)
                for _ in range(min(_CONNECTIONS_PER_BATCH, count - len(streams)))
            ]
            opened = [protocol for _, protocol in await asyncio.gather(*batch)]
            await asyncio.gather(*(stream.began for stream in opened))
            streams += opened
    _print(open=len(streams))
    await wait_for_shutdown(parent)
    _print(
        open=sum(stream.is_open for stream in streams),
        messages=sum(stream.messages for stream in streams),
    )


@main.command()
@click.option("--uri", required=True)
@click.option("--database", required=True)
def grow(*, uri: str, database: str) -> None:
    """Store one more block of the ledger `TENS` each second."""
    configure_logs(LogSettings(level="warning"))
    tune_process()
    asyncio.run(_grow(uri, database))


class _ForgedSource:
    """A block source with a new forged block each second."""

    name, finite, seeks = "forged", False, True

    async def newest(self) -> None:
        """Return None: the height of this source is unknown."""

    async def blocks(self, start: int, _: int | None) -> AsyncGenerator[DeliveredBlock, None]:
        for block in islice(forge(TENS), start, None):
            yield delivered_block(block.data, self.name)
            await asyncio.sleep(_BLOCK_INTERVAL_S)


async def _grow(uri: str, database: str) -> None:
    parent = os.getppid()
    async with AsyncMongoClient[dict[str, Any]](uri) as client:
        progress = new_progress(TENS.channel)
        indexer = ChannelIndexer(LedgerStore(client, database), [_ForgedSource()], progress)
        running = asyncio.create_task(indexer.run())
        while progress.blocks == 0:
            progress.changed.clear()
            await progress.changed.wait()
        _print(height=progress.committed_height)
        await wait_for_shutdown(parent)
        indexer.stop()
        await running


def _print(**fields: int) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
