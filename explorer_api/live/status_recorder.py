"""Records the status of the service in memory, for deployments without Prometheus."""

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry

from explorer_api.live.channels import Channel
from explorer_api.live.heads import MAX_SILENCE_S, HeadSnapshot
from explorer_api.schemas.status_history import (
    ChannelHistory,
    ChannelSample,
    ServiceSample,
    StatusHistory,
)
from ledger.mongodb.sync_state import ChannelState

MAX_SAMPLES: Final = 360
_DURATIONS: Final = "kindledger_api_request_duration_seconds_bucket"


class StatusRecorder:
    """Samples the status of all channels and of this process, without a query to a database."""

    def __init__(
        self,
        channels: Callable[[], Iterable[Channel]],
        registry: CollectorRegistry,
        interval_s: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channels, self._interval_s, self._now, self._clock = channels, interval_s, now, clock
        self._registry = registry.restricted_registry([_DURATIONS])
        self._started_at, self._sampled_at = now(), clock()
        self._requests: Counter[float] = Counter()
        """The requests counted at the last sample, by the upper bounds of the histogram."""
        self._service_samples: deque[ServiceSample] = deque(maxlen=MAX_SAMPLES)
        self._channel_samples: dict[str, deque[ChannelSample]] = {}

    def history(self) -> StatusHistory:
        """Return all samples."""
        channels = [
            ChannelHistory(name, list(samples))
            for name, samples in sorted(self._channel_samples.items())
        ]
        return StatusHistory(
            self._started_at, self._interval_s, list(self._service_samples), channels
        )

    async def record(self) -> None:
        """Take a sample in each interval; until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            self.sample()

    def sample(self) -> None:
        """Take one sample of the service and of each channel, and drop removed channels."""
        at, clock = self._now(), self._clock()
        self._service_samples.append(self._sample_service(at, clock - self._sampled_at))
        self._sampled_at = clock
        channels = {channel.name: channel for channel in self._channels()}
        self._channel_samples = {
            name: self._channel_samples.get(name, deque(maxlen=MAX_SAMPLES)) for name in channels
        }
        for name, channel in channels.items():
            snapshot = channel.watch.latest
            is_recent = snapshot is not None and clock - snapshot.read_at <= 2 * self._interval_s
            self._channel_samples[name].append(_sample(snapshot if is_recent else None, at))

    def _sample_service(self, at: datetime, seconds: float) -> ServiceSample:
        requests = Counter[float]()
        for metric in self._registry.collect():
            for sample in metric.samples:
                if not sample.labels["route"].endswith("/stream"):
                    requests[float(sample.labels["le"])] += int(sample.value)
        recent = {bound: requests[bound] - self._requests[bound] for bound in sorted(requests)}
        self._requests = requests
        rate = round(recent.get(math.inf, 0) / seconds, 3) if seconds > 0 else 0.0
        return ServiceSample(at, rate, _quantile_ms(recent, 0.5), _quantile_ms(recent, 0.99))


def _quantile_ms(cumulative: dict[float, int], share: float) -> float | None:
    """Return the milliseconds within which that share of the requests was answered.

    `cumulative` counts the requests by the upper bounds of their seconds, ascending; the last bound
    is infinite. Within a bucket the requests are assumed to be evenly spread. Returns None if
    there are none.
    """
    rank = share * cumulative.get(math.inf, 0)
    lower_bound, count_below = 0.0, 0
    for bound, count in cumulative.items():
        if count >= rank > 0:
            if math.isinf(bound):
                return round(1000 * lower_bound, 3)
            part = (rank - count_below) / (count - count_below)
            return round(1000 * (lower_bound + (bound - lower_bound) * part), 3)
        lower_bound, count_below = bound, count
    return None


def _sample(snapshot: HeadSnapshot | None, at: datetime) -> ChannelSample:
    sync = snapshot.sync if snapshot is not None else None
    if (
        sync is not None
        and sync.state is not ChannelState.STOPPED
        and (at - sync.updated_at).total_seconds() > MAX_SILENCE_S
    ):
        sync = None
    reconciliation = sync.reconciliation if sync is not None else None
    return ChannelSample(
        at=at,
        height=snapshot.height if snapshot is not None else None,
        peer_height=snapshot.peer_height if snapshot is not None else None,
        lag_blocks=snapshot.lag_blocks if snapshot is not None else None,
        transactions_per_second=sync.transactions_per_second if sync is not None else None,
        state=sync.state if sync is not None else None,
        settled_height=reconciliation.height if reconciliation is not None else None,
        discrepancies=reconciliation.discrepancies if reconciliation is not None else None,
    )
