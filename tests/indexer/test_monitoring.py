"""What operators and Prometheus see of a daemon that follows a real peer."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pymongo import AsyncMongoClient
from pymongo.errors import AutoReconnect

from devnet.peer import Ledger, Peer
from devnet.peer.faults import abort, at, from_block, once, skip, substitute
from indexer.channel_indexer import ChannelIndexer
from indexer.channel_metrics import CHANNEL_METRICS
from indexer.channel_progress import ErrorSource, Stage
from indexer.daemon import Daemon, DaemonChannel
from indexer.health_server import HealthServer
from indexer.store_retry import StoreRetry
from ledger.mongodb.collections import EVENTS, TRANSACTIONS
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState
from runtime.http_server import serving
from runtime.metrics import MetricCollector, process_registry
from runtime.retry import GaveUpError
from tests.indexer.network import (
    BRANCH,
    FORK,
    HEIGHT,
    MUTUAL_TLS,
    ORGANISATIONS,
    OTHER,
    OTHER_CHANNEL,
    QUICK,
    TRUNK,
    WITHIN_S,
    Client,
    new_progress,
    peer_of,
)
from tests.indexer.support import CHANNEL, SMALL

Json = dict[str, Any]
Samples = dict[str, dict[tuple[str, ...], float]]
"""By the sample's name, then by the values of its labels but the channel, in the order of their names."""


class Answer(NamedTuple):
    """What a monitor got."""

    status: int
    headers: dict[str, str]
    text: str


class Watched:
    """A daemon at work, and the address where it shows itself."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(self, path: str, method: str = "GET") -> Answer:
        async with self._session.request(method, path) as response:
            return Answer(response.status, dict(response.headers), await response.text())

    async def health(self) -> tuple[int, Json]:
        answer = await self.ask("/health")
        return answer.status, json.loads(answer.text)

    async def becomes(self, status: int) -> Json:
        """Waits for that status of /health."""
        deadline = time.monotonic() + WITHIN_S
        while (health := await self.health())[0] != status:
            assert time.monotonic() < deadline, health
            await asyncio.sleep(0.02)
        return health[1]

    async def scrape(self, channel: str = CHANNEL) -> Samples:
        """What holds for a channel, or for the process."""
        samples: Samples = {}
        for family in text_string_to_metric_families((await self.ask("/metrics")).text):
            for sample in family.samples:
                if sample.labels.get("channel", channel) == channel:
                    labels = tuple(
                        value for name, value in sorted(sample.labels.items()) if name != "channel"
                    )
                    samples.setdefault(sample.name, {})[labels] = sample.value
        return samples


@asynccontextmanager
async def watched(*members: DaemonChannel) -> AsyncIterator[Watched]:
    """Runs a daemon with its monitor while the context lasts."""
    channels = {member.progress.channel: member.progress for member in members}
    registry = process_registry("1.2.3")
    registry.register(MetricCollector(CHANNEL_METRICS, "channel", channels))
    daemon = Daemon(members, "test")
    async with (
        serving(HealthServer(channels, {}, registry).runner(), "127.0.0.1", 0) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        running = asyncio.create_task(daemon.run())
        try:
            yield Watched(session)
            daemon.stop()
            await asyncio.wait_for(running, WITHIN_S)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def member(
    store: LedgerStore, client: Client, *peers: Peer, channel: str = CHANNEL
) -> DaemonChannel:
    progress = new_progress(channel)
    sources = [client.source(peer, channel) for peer in peers]
    return DaemonChannel(
        ChannelIndexer(store, sources, progress, limits=SMALL, timeouts=QUICK),
        progress,
        store.database,
    )


async def test_a_scrape_tells_what_was_done(store: LedgerStore, client: Client) -> None:
    began = time.time()
    async with peer_of(TRUNK) as peer, watched(member(store, client, peer)) as daemon:
        await daemon.becomes(200)
        samples = await daemon.scrape()
    for height in ("peer", "seen", "committed"):
        assert samples[f"kindledger_{height}_height_blocks"] == {(): HEIGHT}
    assert samples["kindledger_lag_blocks"] == samples["kindledger_lag_seconds"] == {(): 0}
    assert samples["kindledger_catch_up_seconds"] == {(): 0}
    assert {state for (state,), on in samples["kindledger_channel_state"].items() if on} == {
        "following"
    }
    assert samples["kindledger_blocks_total"] == {(): HEIGHT}
    for name, collection in (("transactions", TRANSACTIONS), ("events", EVENTS)):
        assert samples[f"kindledger_{name}_total"] == {
            (): await store.database[collection].count_documents({})
        }
    assert samples["kindledger_undecodable_transactions_total"][()] > 0
    assert samples["kindledger_delivered_bytes_total"][()] > sum(map(len, TRUNK))
    assert began < samples["kindledger_last_commit_timestamp_seconds"][()] < time.time()
    assert samples["kindledger_queue_bytes"] == {("delivered",): 0, ("encoded",): 0}
    assert samples["kindledger_queue_limit_bytes"] == {
        ("delivered",): SMALL.delivered_bytes,
        ("encoded",): SMALL.encoded_bytes,
    }
    counts, spent = (
        samples[f"kindledger_stage_duration_seconds_{part}"] for part in ("count", "sum")
    )
    assert counts.keys() == spent.keys() == {(stage,) for stage in Stage}
    for stage in Stage:
        assert (
            counts[stage,] == samples["kindledger_stage_duration_seconds_bucket"]["+Inf", stage] > 1
        ), stage
        assert 0 < spent[stage,] < 10, stage
    batches = counts[Stage.WRITE_BLOCKS,]
    assert (
        samples["kindledger_batch_bytes_count"]
        == samples["kindledger_batch_transactions_count"]
        == {(): batches}
    )
    assert samples["kindledger_batch_transactions_sum"] == samples["kindledger_transactions_total"]
    assert samples["kindledger_build_info"] == {("1.2.3",): 1}
    assert samples["process_resident_memory_bytes"][()] > 1 << 20


async def test_a_peer_that_goes_away_and_comes_back(store: LedgerStore, client: Client) -> None:
    faults = (abort(once(at(7))), skip(once(at(12))))
    async with peer_of(TRUNK, *faults) as peer, watched(member(store, client, peer)) as daemon:
        (in_step,) = (await daemon.becomes(200))["channels"]
        before = await daemon.scrape()
        assert before["kindledger_reconnects_total"] == {("unavailable",): 1, ("skipped",): 1}
        assert before["kindledger_errors_total"] == {
            ("peer",): 1,
            ("mongodb",): 0,
            ("ledger",): 0,
            ("redis",): 0,
        }
        assert (in_step["status"], in_step["state"], in_step["error"]) == ("ok", "following", None)
        await peer.stop()
        (alone,) = (await daemon.becomes(503))["channels"]
        assert (alone["status"], alone["state"], alone["since"] > in_step["since"]) == (
            "broken",
            "waiting",
            True,
        )
        assert f"{peer.address}: " in alone["error"]["message"]
        after = await daemon.scrape()
        assert after["kindledger_channel_state"]["waiting",] == 1
        assert sum(after["kindledger_reconnects_total"].values()) > 2
        assert (await daemon.ask("/ready")).status == (await daemon.ask("/live")).status == 200
        await peer.start()
        await daemon.becomes(200)


async def test_a_channel_that_failed_is_named(
    store: LedgerStore, mongo: AsyncMongoClient[Any], client: Client
) -> None:
    """The other one is caught up with; the worst of them decides."""
    other_store = LedgerStore(mongo, f"{store.database.name}_other")
    other = Ledger(OTHER[:10])
    ledgers = {CHANNEL: Ledger(TRUNK), OTHER_CHANNEL: other}
    fork = {CHANNEL: [substitute(from_block(FORK + 1), Ledger(BRANCH))]}
    try:
        async with (
            Peer(ledgers, tls=MUTUAL_TLS, organisations=ORGANISATIONS, faults=fork) as peer,
            watched(
                member(store, client, peer),
                member(other_store, client, peer, channel=OTHER_CHANNEL),
            ) as daemon,
        ):
            failed, _ = (await daemon.becomes(503))["channels"]
            assert (failed["channel"], failed["state"], failed["committedHeight"]) == (
                CHANNEL,
                "failed",
                FORK + 1,
            )
            assert f"block {FORK + 1}: previous_hash: expected " in failed["error"]["message"]
            samples = await daemon.scrape()
            assert (
                samples["kindledger_channel_state"]["failed",],
                samples["kindledger_errors_total"]["ledger",],
            ) == (
                1,
                1,
            )
            for block in OTHER[10:]:
                other.append(block)
            deadline = time.monotonic() + WITHIN_S
            while (await daemon.scrape(OTHER_CHANNEL))["kindledger_committed_height_blocks"] != {
                (): HEIGHT
            }:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            status, health = await daemon.health()
            assert (status, [channel["status"] for channel in health["channels"]]) == (
                503,
                ["broken", "ok"],
            )
    finally:
        await mongo.drop_database(other_store.database.name)


async def test_health_while_a_channel_is_taken_up_and_catches_up() -> None:
    """And what anybody may ask of the monitor: to read four addresses."""
    channel = new_progress()
    async with (
        serving(
            HealthServer({CHANNEL: channel}, {}, process_registry("1")).runner(), "127.0.0.1", 0
        ) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        daemon = Watched(session)
        ready = await daemon.ask("/ready")
        assert (ready.status, json.loads(ready.text)) == (
            503,
            {"status": "starting", "starting": [CHANNEL]},
        )
        assert (await daemon.health())[0] == 202
        channel.resume(0, 5)
        channel.record_peer_height(9)
        channel.set_state(ChannelState.CATCHING_UP)
        status, health = await daemon.health()
        assert (status, health["status"], health["channels"][0]["peerHeight"]) == (
            202,
            "catching_up",
            9,
        )
        assert (await daemon.ask("/ready")).status == 200
        channel.record_commit(9, blocks=4, transactions=9, events=0, undecodable=0)
        head = await daemon.ask("/health", "HEAD")
        assert (head.status, head.text) == (200, "")
        assert (head.headers["Cache-Control"], head.headers["X-Content-Type-Options"]) == (
            "no-store",
            "nosniff",
        )
        refused = [
            (await daemon.ask("/health", method)).status
            for method in ("POST", "PUT", "DELETE", "OPTIONS")
        ]
        assert (refused, (await daemon.ask("/")).status) == ([405] * 4, 404)
        assert {(await daemon.ask(path)).headers["Server"] for path in ("/", "/live")} == {
            "kindledger"
        }


async def test_mongodb_that_is_away_is_counted_as_such() -> None:
    async def away() -> None:
        raise AutoReconnect("no primary")

    channel = new_progress()
    with pytest.raises(GaveUpError):
        await StoreRetry(0.1, channel).run(away)
    assert channel.errors.total() == channel.errors[ErrorSource.MONGODB] > 0
