"""A forged network for the tests of the indexer: chains, peers, clients and running indexers."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from pathlib import Path

import pytest
from msgspec.structs import replace

from devnet.forge.forger import Recipe, forge
from devnet.peer import Authority, KeyPair, Ledger, Peer, ServerTls
from devnet.peer.channel_config import organisations
from devnet.peer.faults import Fault
from indexer.daemon import DaemonChannel
from indexer.pipeline.channel_indexer import ChannelIndexer, PeerTimeouts
from indexer.pipeline.deferred_indexes import IndexPolicy
from indexer.pipeline.pipeline import PipelineLimits
from indexer.progress.channel_progress import ChannelProgress
from indexer.sources.block_source import BlockSource
from indexer.sources.peer_source import Endpoint, PeerSource
from ledger.errors import LedgerError
from ledger.mongodb.raw_block_archive import MongoArchive
from ledger.mongodb.store import LedgerStore
from ledger.signing import SigningIdentity, load_signing_identity
from tests.eventually import eventually
from tests.indexer.support import (
    CHANNEL,
    SMALL,
    assert_equal_documents,
    expected_documents,
    new_progress,
    stored_documents,
)

OTHER_CHANNEL = "bystander"
QUICK = PeerTimeouts(poll_s=0.1, stall_s=10.0, peer_retry_s=30.0)
WITHIN_S = 30.0
"""Far longer than any step takes, even on a machine under heavy load."""

RECIPE = Recipe(
    seed=6,
    channel=CHANNEL,
    transactions_per_block=range(1, 6),
    invalid_share=0.2,
    hostile_share=0.2,
    signed=False,
)
NETWORK = RECIPE.network()


@cache
def forged(height: int, recipe: Recipe = RECIPE) -> tuple[bytes, ...]:
    """Return the first blocks of a chain."""
    return tuple(block.data for block in islice(forge(recipe), height))


FORK = 15
HEIGHT = 30
TRUNK = forged(HEIGHT)
BRANCH = forged(HEIGHT, replace(RECIPE, branch_at=FORK))
"""The same chain as the trunk up to block FORK - 1."""
OTHER = forged(HEIGHT, replace(RECIPE, channel=OTHER_CHANNEL))
"""Another channel of the same organisations."""
REBUILT = forged(HEIGHT, replace(RECIPE, started=datetime(2026, 2, 1, tzinfo=UTC)))
"""The same channel created again, with another genesis block."""

ORGANISATIONS = organisations(TRUNK[0])
TLS_AUTHORITY = Authority("tls")
SERVER = TLS_AUTHORITY.issue("peer0")
CLIENT = TLS_AUTHORITY.issue("client")
MUTUAL_TLS = ServerTls(SERVER, TLS_AUTHORITY.certificate)


def peer_of(
    ledger: Ledger | Sequence[bytes],
    *faults: Fault,
    channel: str = CHANNEL,
    tls: ServerTls = MUTUAL_TLS,
    clock: Callable[[], float] = time.time,
) -> Peer:
    """Return a peer of one channel that checks access rights and requires mutual TLS."""
    return Peer(
        {channel: ledger if isinstance(ledger, Ledger) else Ledger(ledger)},
        tls=tls,
        organisations=ORGANISATIONS,
        faults={channel: faults},
        clock=clock,
    )


@dataclass(frozen=True)
class Client:
    """A member of the first organisation, with its certificates and keys in files."""

    folder: Path
    msp_id: str = "Org1MSP"
    tls: bool = True

    @classmethod
    def enrolled(cls, folder: Path, *, tls: bool = True) -> "Client":
        """Return a client with every file that a peer of the network requires."""
        client = cls(folder, tls=tls)
        NETWORK.client.write(folder)
        client.use_tls(CLIENT)
        (folder / "ca.pem").write_bytes(TLS_AUTHORITY.certificate)
        return client

    def use_tls(self, pair: KeyPair) -> None:
        """Replace the TLS certificate and key."""
        (self.folder / "client.pem").write_bytes(pair.certificate)
        (self.folder / "client.key").write_bytes(pair.key)

    def identity(self) -> SigningIdentity:
        """Load the identity from its files."""
        return load_signing_identity(self.msp_id, self.folder / "cert.pem", self.folder / "key.pem")

    def endpoint(self, address: str) -> Endpoint:
        """Return the endpoint of a peer, with this client's TLS files if it uses TLS."""
        if not self.tls:
            return Endpoint(address)
        return Endpoint(
            address=address,
            tls_ca=self.folder / "ca.pem",
            client_certificate=self.folder / "client.pem",
            client_key=self.folder / "client.key",
        )

    def source(self, peer: Peer | str, channel: str = CHANNEL) -> PeerSource:
        """Return a source of the channel's blocks: a peer, or the server at an address."""
        address = peer if isinstance(peer, str) else peer.address
        return PeerSource(self.endpoint(address), channel, self.identity)


@asynccontextmanager
async def breaking_proxy(
    peer: Peer, limit: Callable[[], int], *, freezes: bool
) -> AsyncIterator[str]:
    """Run a proxy in front of a peer; yield its address.

    Each connection breaks off, or freezes, after the number of bytes that `limit` returns.
    """
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_peer, to_peer = await asyncio.open_connection("127.0.0.1", peer.port)
        upwards = asyncio.create_task(_copy(reader, to_peer, None))
        try:
            await _copy(from_peer, writer, limit())
            if freezes:
                await asyncio.Event().wait()
        finally:
            upwards.cancel()
            for half in (writer, to_peer):
                half.transport.abort()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    async with await asyncio.start_server(connected, "127.0.0.1") as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _copy(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, limit: int | None
) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(4096 if limit is None else min(limit, 4096)):
            limit = None if limit is None else limit - len(data)
            sink.write(data)
            await sink.drain()


async def wait_until(
    task: asyncio.Task[None],
    progress: ChannelProgress,
    condition: Callable[[ChannelProgress], bool],
) -> None:
    """Wait until the progress of a running task fulfils the condition; raise the task's error."""

    def observe() -> bool:
        fulfilled = condition(progress)
        if not fulfilled and task.done():
            task.result()
            pytest.fail("the task ended before the condition was fulfilled")
        return fulfilled

    await eventually(
        observe,
        within_s=WITHIN_S,
        poll_s=0.005,
        describe=lambda: (progress.committed_height, progress.state, progress.error),
    )


class RunningIndexer:
    """An indexer that runs beside the test."""

    def __init__(
        self,
        store: LedgerStore,
        sources: Sequence[BlockSource],
        *,
        channel: str = CHANNEL,
        first: int = 0,
        timeouts: PeerTimeouts = QUICK,
        limits: PipelineLimits = SMALL,
        index_policy: IndexPolicy = IndexPolicy(),  # noqa: B008 - frozen
    ) -> None:
        self.progress = new_progress(channel)
        self.indexer = ChannelIndexer(
            store,
            sources,
            self.progress,
            first=first,
            limits=limits,
            timeouts=timeouts,
            index_policy=index_policy,
            raw_blocks=MongoArchive(store.database),
        )
        self.task = asyncio.create_task(self.indexer.run())

    async def until(self, condition: Callable[[ChannelProgress], bool]) -> None:
        """Wait for the condition; raise the indexer's error."""
        await wait_until(self.task, self.progress, condition)

    async def wait_for_height(self, height: int) -> None:
        await self.until(lambda progress: progress.committed_height >= height)

    async def wait_until_waiting(self, reason: str) -> None:
        """Wait until the indexer is in the state "waiting", with this reason."""
        await self.until(
            lambda progress: progress.state == "waiting" and reason in error_message(progress)
        )


@asynccontextmanager
async def indexing(
    store: LedgerStore,
    *sources: BlockSource,
    channel: str = CHANNEL,
    first: int = 0,
    timeouts: PeerTimeouts = QUICK,
    limits: PipelineLimits = SMALL,
    index_policy: IndexPolicy = IndexPolicy(),  # noqa: B008 - frozen
) -> AsyncIterator[RunningIndexer]:
    """Index while the context lasts; raise the indexer's error at its end."""
    run = RunningIndexer(
        store,
        sources,
        channel=channel,
        first=first,
        timeouts=timeouts,
        limits=limits,
        index_policy=index_policy,
    )
    try:
        yield run
        run.indexer.stop()
        async with asyncio.timeout(WITHIN_S):
            await run.task
    finally:
        run.task.cancel()
        await asyncio.gather(run.task, return_exceptions=True)


def daemon_channel(
    store: LedgerStore,
    *sources: BlockSource,
    channel: str = CHANNEL,
    timeouts: PeerTimeouts = QUICK,
) -> DaemonChannel:
    """Return a channel for a daemon of the test."""
    progress = new_progress(channel)
    raw_blocks = MongoArchive(store.database)
    indexer = ChannelIndexer(
        store, sources, progress, limits=SMALL, timeouts=timeouts, raw_blocks=raw_blocks
    )
    return DaemonChannel(indexer, progress, store.database)


async def channel_error(
    store: LedgerStore, *sources: BlockSource, first: int = 0, timeouts: PeerTimeouts = QUICK
) -> LedgerError:
    """Return the error that stops the channel."""
    run = RunningIndexer(store, sources, first=first, timeouts=timeouts)
    try:
        with pytest.raises(LedgerError) as caught:
            await asyncio.wait_for(run.task, WITHIN_S)
    finally:
        run.task.cancel()
        await asyncio.gather(run.task, return_exceptions=True)
    return caught.value


def error_message(progress: ChannelProgress) -> str:
    """Return the message of the error that blocks the channel."""
    return progress.error.message if progress.error is not None else ""


async def assert_stored(store: LedgerStore, chain: Sequence[bytes]) -> None:
    """Check that the store holds exactly the documents of these blocks."""
    assert_equal_documents(await stored_documents(store.database), expected_documents(tuple(chain)))


async def fill(store: LedgerStore, client: Client, chain: Sequence[bytes]) -> None:
    """Index these blocks into the store, from a peer without faults."""
    async with peer_of(chain) as peer, indexing(store, client.source(peer)) as run:
        await run.wait_for_height(len(chain))
