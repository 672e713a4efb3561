"""Health and metrics of a daemon that follows a peer."""

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
from indexer.daemon import Daemon, DaemonChannel
from indexer.monitoring.channel_metrics import CHANNEL_METRICS
from indexer.monitoring.health_server import HealthServer
from indexer.pipeline.store_retry import StoreRetry
from indexer.progress.channel_progress import ErrorSource, Stage
from ledger.mongodb.collections import EVENTS, TRANSACTIONS
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState
from ledger.position import BlockNumber, Height
from runtime.http_server import serving
from runtime.metrics import MetricCollector, process_registry
from runtime.retry import GaveUpError
from tests.eventually import eventually
from tests.indexer.network import (
    BRANCH,
    FORK,
    HEIGHT,
    MUTUAL_TLS,
    ORGANISATIONS,
    OTHER,
    OTHER_CHANNEL,
    TRUNK,
    WITHIN_S,
    Client,
    daemon_channel,
    peer_of,
)
from tests.indexer.support import CHANNEL, SMALL, new_progress

Json = dict[str, Any]
Samples = dict[str, dict[tuple[str, ...], float]]
"""Values by the sample's name, then by its label values without the channel, in order of labels."""


class Response(NamedTuple):
    """A response of the health server."""

    status: int
    headers: dict[str, str]
    text: str


class MonitoredDaemon:
    """Requests the health server of a running daemon."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def request(self, path: str, method: str = "GET") -> Response:
        async with self._session.request(method, path) as response:
            return Response(response.status, dict(response.headers), await response.text())

    async def health(self) -> tuple[int, Json]:
        response = await self.request("/health")
        return response.status, json.loads(response.text)

    async def wait_for_status(self, status: int) -> Json:
        """Wait until /health responds with the status; return the response."""
        _, health = await eventually(
            self.health,
            lambda response: response[0] == status,
            within_s=WITHIN_S,
            describe=f"status {status} of /health",
        )
        return health

    async def scrape(self, channel: str = CHANNEL) -> Samples:
        """Return the samples of the channel and of the process."""
        samples: Samples = {}
        for family in text_string_to_metric_families((await self.request("/metrics")).text):
            for sample in family.samples:
                if sample.labels.get("channel", channel) == channel:
                    labels = tuple(
                        value for name, value in sorted(sample.labels.items()) if name != "channel"
                    )
                    samples.setdefault(sample.name, {})[labels] = sample.value
        return samples


@asynccontextmanager
async def monitored_daemon(*daemon_channels: DaemonChannel) -> AsyncIterator[MonitoredDaemon]:
    """Run a daemon with its health server while the context lasts."""
    channels = {each.progress.channel: each.progress for each in daemon_channels}
    registry = process_registry("1.2.3")
    registry.register(MetricCollector(CHANNEL_METRICS, "channel", channels))
    daemon = Daemon(daemon_channels, "test")
    async with (
        serving(HealthServer(channels, {}, registry).runner(), "127.0.0.1", 0) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        running = asyncio.create_task(daemon.run())
        try:
            yield MonitoredDaemon(session)
            daemon.stop()
            await asyncio.wait_for(running, WITHIN_S)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_the_metrics_are_right_after_catching_up(store: LedgerStore, client: Client) -> None:
    began = time.time()
    async with (
        peer_of(TRUNK) as peer,
        monitored_daemon(daemon_channel(store, client.source(peer))) as daemon,
    ):
        await daemon.wait_for_status(200)
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
    assert samples["kindledger_delivered_bytes_total"][()] == sum(map(len, TRUNK))
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
    assert counts[Stage.BUILD_INDEXES,] == 0  # the store has its indexes already
    for stage in set(Stage) - {Stage.BUILD_INDEXES}:
        assert (
            counts[stage,] == samples["kindledger_stage_duration_seconds_bucket"]["+Inf", stage] > 1
        ), stage
        assert 0 < spent[stage,] < WITHIN_S, stage
    batches = counts[Stage.WRITE_BLOCKS,]
    assert (
        samples["kindledger_batch_bytes_count"]
        == samples["kindledger_batch_transactions_count"]
        == {(): batches}
    )
    assert samples["kindledger_batch_transactions_sum"] == samples["kindledger_transactions_total"]
    assert samples["kindledger_build_info"] == {("1.2.3",): 1}
    assert samples["process_resident_memory_bytes"][()] > 1 << 20


async def test_health_shows_that_the_peer_is_unavailable_and_recovers(
    store: LedgerStore, client: Client
) -> None:
    faults = (abort(once(at(7))), skip(once(at(12))))
    async with (
        peer_of(TRUNK, *faults) as peer,
        monitored_daemon(daemon_channel(store, client.source(peer))) as daemon,
    ):
        (before_outage,) = (await daemon.wait_for_status(200))["channels"]
        before = await daemon.scrape()
        assert before["kindledger_reconnects_total"] == {("unavailable",): 1, ("skipped",): 1}
        assert before["kindledger_errors_total"] == {
            ("peer",): 1,
            ("mongodb",): 0,
            ("ledger",): 0,
            ("redis",): 0,
            ("archive",): 0,
        }
        assert (before_outage["status"], before_outage["state"], before_outage["error"]) == (
            "ok",
            "following",
            None,
        )
        await peer.stop()
        (in_outage,) = (await daemon.wait_for_status(503))["channels"]
        assert (
            in_outage["status"],
            in_outage["state"],
            in_outage["since"] > before_outage["since"],
        ) == (
            "broken",
            "waiting",
            True,
        )
        assert f"{peer.address}: " in in_outage["error"]["message"]
        after = await daemon.scrape()
        assert after["kindledger_channel_state"]["waiting",] == 1
        assert sum(after["kindledger_reconnects_total"].values()) > 2
        assert (
            (await daemon.request("/ready")).status == (await daemon.request("/live")).status == 200
        )
        await peer.start()
        await daemon.wait_for_status(200)


async def test_health_names_the_channel_that_failed(
    store: LedgerStore, mongo: AsyncMongoClient[Any], client: Client
) -> None:
    """The other channel is indexed; the worst channel decides the status."""
    other_store = LedgerStore(mongo, f"{store.database.name}_other")
    other = Ledger(OTHER[:10])
    ledgers = {CHANNEL: Ledger(TRUNK), OTHER_CHANNEL: other}
    fork = {CHANNEL: [substitute(from_block(FORK + 1), Ledger(BRANCH))]}
    try:
        async with (
            Peer(ledgers, tls=MUTUAL_TLS, organisations=ORGANISATIONS, faults=fork) as peer,
            monitored_daemon(
                daemon_channel(store, client.source(peer)),
                daemon_channel(
                    other_store, client.source(peer, OTHER_CHANNEL), channel=OTHER_CHANNEL
                ),
            ) as daemon,
        ):
            failed, _ = (await daemon.wait_for_status(503))["channels"]
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

            async def committed_height() -> float:
                samples = await daemon.scrape(OTHER_CHANNEL)
                return samples["kindledger_committed_height_blocks"][()]

            await eventually(committed_height, lambda height: height == HEIGHT, within_s=WITHIN_S)
            status, health = await daemon.health()
            assert (status, [channel["status"] for channel in health["channels"]]) == (
                503,
                ["broken", "ok"],
            )
    finally:
        await mongo.drop_database(other_store.database.name)


async def test_health_shows_that_a_channel_starts_and_catches_up() -> None:
    """The server has four addresses, and allows only to read them."""
    channel = new_progress()
    async with (
        serving(
            HealthServer({CHANNEL: channel}, {}, process_registry("1")).runner(), "127.0.0.1", 0
        ) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        daemon = MonitoredDaemon(session)
        ready = await daemon.request("/ready")
        assert (ready.status, json.loads(ready.text)) == (
            503,
            {"status": "starting", "starting": [CHANNEL]},
        )
        assert (await daemon.health())[0] == 202
        channel.resume(BlockNumber(0), Height(5))
        channel.record_peer_height(Height(9))
        channel.set_state(ChannelState.CATCHING_UP)
        status, health = await daemon.health()
        assert (status, health["status"], health["channels"][0]["peerHeight"]) == (
            202,
            "catching_up",
            9,
        )
        assert (await daemon.request("/ready")).status == 200
        channel.record_commit(Height(9), blocks=4, transactions=9, events=0, undecodable=0)
        head = await daemon.request("/health", "HEAD")
        assert (head.status, head.text) == (200, "")
        assert (head.headers["Cache-Control"], head.headers["X-Content-Type-Options"]) == (
            "no-store",
            "nosniff",
        )
        refused = [
            (await daemon.request("/health", method)).status
            for method in ("POST", "PUT", "DELETE", "OPTIONS")
        ]
        assert (refused, (await daemon.request("/")).status) == ([405] * 4, 404)
        assert {(await daemon.request(path)).headers["Server"] for path in ("/", "/live")} == {
            "kindledger"
        }


async def test_the_body_of_a_request_is_not_decompressed(caplog: pytest.LogCaptureFixture) -> None:
    server = HealthServer({}, {}, process_registry("1"))
    async with serving(server.runner(), "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\nContent-Encoding: zstd"
        writer.write(head + b"\r\n\r\nnot zstd")
        assert (await reader.readline()).startswith(b"HTTP/1.1 405 ")
        writer.write(b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"HTTP/1.1 200 " in await reader.read()
        writer.close()
    assert caplog.records == [], "a client's mistake is not logged"


async def test_an_unavailable_mongodb_is_counted_as_an_error_of_mongodb() -> None:
    async def fail() -> None:
        raise AutoReconnect("no primary")

    channel = new_progress()
    with pytest.raises(GaveUpError):
        await StoreRetry(0.1, channel).run(fail)
    assert channel.errors.total() == channel.errors[ErrorSource.MONGODB] > 0
