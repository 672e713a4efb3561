"""Puts the daemon together and runs it until a signal comes."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import structlog
from msgspec.structs import replace
from pymongo import AsyncMongoClient

from cli.errors import ConfigurationError, Exit
from cli.mongo import mongo_client
from cli.network import peer_sources
from cli.reconciliation import reconciled_channel, reconciliation
from cli.settings import IndexerSettings, Settings
from explorer_api.app import create_app, serve
from indexer.channel import ChannelIndexer, Patience
from indexer.daemon import Daemon, Member
from indexer.pipeline import Limits
from indexer.process import tune_process
from indexer.progress import Progress
from indexer.source import BlockSource
from ledger.store import LedgerStore

log = structlog.get_logger()

VERSION = version("kindledger-explorer")


def new_progress(channel: str) -> Progress:
    """Progress by the machine's clocks."""
    return Progress(channel, time.monotonic, lambda: datetime.now(UTC))


def limits_of(settings: IndexerSettings, store_retry_s: float | None = None) -> Limits:
    """The pipeline's bounds as configured; a one-shot command waits for MongoDB no longer than it says."""
    return Limits(
        delivered_bytes=settings.delivered_bytes,
        encoded_bytes=settings.encoded_bytes,
        parallel_batches=settings.parallel_batches,
        store_retry_s=store_retry_s or settings.store_retry_s,
    )


async def run_daemon(settings: Settings, *, with_api: bool) -> Exit:
    """Follows the configured channels until SIGTERM or SIGINT; a second signal ends at once."""
    if not settings.channels:
        raise ConfigurationError("channels: none is configured; add a table such as [channels.kindledger]")
    sources: dict[str, list[BlockSource]] = {
        channel: list(peer_sources(settings.fabric, channel)) for channel in settings.channels
    }
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(mongo_client(settings))
        reconciled = reconciled_channel(settings)
        members = [_member(client, settings, channel, sources[channel]) for channel in settings.channels]
        for index, member in enumerate(members):
            if member.progress.channel == reconciled:
                members[index] = await stack.enter_async_context(_reconciled(member, client, settings))
        if with_api:
            await stack.enter_async_context(serve_api(client, settings))
        daemon = Daemon(members, VERSION)
        return await until_signal(daemon)


def _member(
    client: AsyncMongoClient[dict[str, Any]], settings: Settings, channel: str, sources: list[BlockSource]
) -> Member:
    store = LedgerStore(client, settings.database_of(channel))
    progress = new_progress(channel)
    indexer = ChannelIndexer(
        store,
        sources,
        progress,
        first=settings.channels[channel].start_block,
        limits=limits_of(settings.indexer),
        patience=Patience(
            poll_s=settings.indexer.poll_s,
            stall_s=settings.indexer.stall_s,
            peer_retry_s=settings.indexer.peer_retry_s,
        ),
    )
    return Member(indexer, progress, store.database)


@asynccontextmanager
async def _reconciled(
    member: Member, client: AsyncMongoClient[dict[str, Any]], settings: Settings
) -> AsyncIterator[Member]:
    """The same channel with its reconciliation beside it."""
    store = LedgerStore(client, member.database.name)
    async with reconciliation(settings, store, member.progress) as part:
        yield replace(member, reconciliation=part.reconciler.progress, companions=part.companions)


async def until_signal(daemon: Daemon) -> Exit:
    """Runs the daemon; the first signal ends it in order, the second at once. Returns the exit code."""
    tune_process()
    running = asyncio.ensure_future(daemon.run())
    received: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        if received:
            running.cancel()
        received.append(number)
        daemon.stop()

    with _signals(on_signal):
        try:
            await running
        except asyncio.CancelledError:
            if not received:
                raise
    return _exit_of(received[0]) if received else Exit.OK


@contextmanager
def _signals(on_signal: Callable[[signal.Signals], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _exit_of(received: signal.Signals) -> Exit:
    return Exit.TERMINATED if received is signal.SIGTERM else Exit.INTERRUPTED


@asynccontextmanager
async def serve_api(client: AsyncMongoClient[dict[str, Any]], settings: Settings) -> AsyncIterator[str]:
    """Serves the explorer API while the context lasts; yields its address."""
    channels = {channel: settings.database_of(channel) for channel in settings.channels} or None
    app = create_app(client, channels, version=VERSION)
    try:
        runner, port = await serve(app, settings.api.host, settings.api.port)
    except OSError as error:
        raise ConfigurationError(
            f"api: {settings.api.host}:{settings.api.port}: cannot listen: {error.strerror}"
        ) from error
    address = f"http://{settings.api.host}:{port}"
    log.info("api_started", url=f"{address}/api/v1/status")
    try:
        yield address
    finally:
        await runner.cleanup()


async def run_api(settings: Settings) -> Exit:
    """Serves the API alone until SIGTERM or SIGINT."""
    received: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()

    def on_signal(number: signal.Signals) -> None:
        if not received.done():
            received.set_result(number)

    async with mongo_client(settings) as client, serve_api(client, settings):
        with _signals(on_signal):
            return _exit_of(await received)
