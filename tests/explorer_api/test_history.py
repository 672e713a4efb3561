"""The history of the service's status."""

from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry
from pymongo import AsyncMongoClient

from explorer_api.http.request_metrics import ApiMetrics
from explorer_api.live.channels import Channels
from explorer_api.live.mongo_calls import MongoCalls
from explorer_api.live.status_recorder import MAX_SAMPLES, StatusRecorder
from explorer_api.options import Options
from ledger.mongodb.sync_state import ChannelState, Reconciliation, write_sync_state
from tests.eventually import eventually
from tests.explorer_api.support import (
    CHANNEL,
    MOMENT,
    Api,
    Json,
    append,
    block,
    running_api,
    sync_state,
    transaction,
)


async def history(api: Api, samples: int) -> Json:
    """Wait until the history has that many samples; return it."""

    async def read() -> Json:
        response = await api.get("/api/v1/status/history")
        assert response.headers["Cache-Control"] == "no-store"
        return response.json

    def has_samples(history: Json) -> bool:
        channels = history["channels"]
        return bool(channels) and len(channels[0]["samples"]) >= samples

    return await eventually(read, has_samples)


async def test_the_progress_of_a_channel_is_sampled(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    now = datetime.now(UTC)
    reconciliation = Reconciliation(ChannelState.FOLLOWING, 2, 7, 3, None, [])
    report = sync_state(
        peer_height=5,
        transactions_per_second=8.5,
        updated_at=now,
        reconciliation=reconciliation,
        seen_height=3,
    )
    await append(client, database_name, [block(n, [transaction(0, f"{n}")]) for n in range(3)])
    await write_sync_state(client[database_name], report)
    options = Options(head_age_s=0.0, sample_s=0.05)
    async with running_api(client, {CHANNEL: database_name}, options) as api:
        first = await history(api, 2)
        await append(client, database_name, [block(3, [transaction(0, "3")])])
        await api.channel()
        count = len(first["channels"][0]["samples"])
        later = await history(api, count + 2)
    (channel,) = later["channels"]
    assert channel["name"] == CHANNEL
    at = [datetime.fromisoformat(sample.pop("at")) for sample in channel["samples"]]
    assert at == sorted(at)
    assert at[0] >= datetime.fromisoformat(later["since"]) >= now
    sample = {
        "height": 3,
        "peerHeight": 5,
        "lagBlocks": 2,
        "transactionsPerSecond": 8.5,
        "state": "catching_up",
        "settledHeight": 2,
        "discrepancies": 3,
    }
    known = [each for each in channel["samples"] if each["state"] is not None]
    assert known[0] == sample  # a sample is empty if MongoDB did not respond within the interval
    assert known[-1] == sample | {"height": 4, "lagBlocks": 1}
    assert later["intervalSeconds"] == 0.05
    assert later["since"] == first["since"]
    busy = [sample for sample in later["service"] if sample["requestsPerSecond"] > 0]
    assert busy
    assert all(0 < sample["p50Ms"] <= sample["p99Ms"] < 5000 for sample in busy)


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return MOMENT + timedelta(seconds=self.seconds)


async def test_unknown_values_are_null_and_the_history_is_bounded(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    clock, registry = Clock(), CollectorRegistry()
    metrics = ApiMetrics(registry)
    await append(client, database_name, [block(0, [transaction(0, "a")])])
    report = sync_state(
        state=ChannelState.FOLLOWING,
        transactions_per_second=1.0,
        updated_at=MOMENT - timedelta(seconds=55),
    )
    await write_sync_state(client[database_name], report)
    channels = Channels(client, MongoCalls(1.0), {CHANNEL: database_name}, 2.0)
    (channel,) = await channels.all()
    snapshot = await channel.watch.recent()
    recorder = StatusRecorder(
        channels.loaded, registry, 10.0, clock.now, lambda: snapshot.read_at + clock.seconds
    )

    for seconds in (0.003, 0.003, 0.003, 7.0):
        metrics.count_response("/x", "GET", 200, seconds)
        metrics.count_response("/channels/{channel}/stream", "GET", 200, 600.0)
    clock.seconds = 4.0
    recorder.sample()
    (fresh,) = recorder.history().channels[0].samples
    assert (fresh.height, fresh.state, fresh.transactions_per_second) == (
        1,
        ChannelState.FOLLOWING,
        1.0,
    )
    (service,) = recorder.history().service
    assert service.requests_per_second == 1.0
    assert service.p50_ms is not None
    assert 2.5 < service.p50_ms < 5.0
    assert service.p99_ms == 5000.0, "the highest bound of the histogram"

    clock.seconds = 10.0  # the daemon does not report
    recorder.sample()
    silent = recorder.history().channels[0].samples[-1]
    assert (silent.height, silent.state, silent.transactions_per_second) == (1, None, None)
    idle = recorder.history().service[-1]
    assert (idle.requests_per_second, idle.p50_ms, idle.p99_ms) == (0.0, None, None)
    clock.seconds = 70.0  # MongoDB does not answer
    recorder.sample()
    unknown = recorder.history().channels[0].samples[-1]
    assert (unknown.height, unknown.peer_height, unknown.lag_blocks) == (None, None, None)

    for _ in range(2 * MAX_SAMPLES):
        recorder.sample()
    assert (
        len(recorder.history().channels[0].samples)
        == len(recorder.history().service)
        == MAX_SAMPLES
    )
    assert recorder.history().since == MOMENT
