"""The last hour of each channel and of this process, kept in memory: for those who have no Prometheus."""

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct
from prometheus_client import CollectorRegistry

from explorer_api.live.channels import Channel
from explorer_api.live.heads import HeadSnapshot
from ledger.mongodb.sync_state import ChannelState

MAX_SAMPLES: Final = 360
_DURATIONS: Final = "kindledger_api_request_duration_seconds_bucket"
_SILENT_S: Final = 60.0


class ChannelSample(Struct, frozen=True, rename="camel"):
    """Where a channel stood. Heights are null where MongoDB did not tell them.

    What the daemon reports is null while it is silent: the transactions indexed per second, its state, and of the
    business rows the height up to which they are settled, and open discrepancies.
    """

    at: datetime
    height: int | None
    peer_height: int | None
    lag_blocks: int | None
    transactions_per_second: float | None
    state: ChannelState | None
    settled_height: int | None
    discrepancies: int | None


class ServiceSample(Struct, frozen=True, rename="camel"):
    """What this process answered since the sample before: requests per second, and their times in milliseconds.

    Half of them took at most `p50_ms`, 99 of 100 at most `p99_ms`, as far as a histogram tells; null without any.
    Streams are not among them: their times are those of connections.
    """

    at: datetime
    requests_per_second: float
    p50_ms: float | None
    p99_ms: float | None


class ChannelHistory(Struct, frozen=True):
    """One channel's samples, the oldest first."""

    name: str
    samples: list[ChannelSample]


class StatusHistory(Struct, frozen=True, rename="camel"):
    """The last 360 samples, one each `interval_seconds`; none is older than this process, which began at `since`."""

    since: datetime
    interval_seconds: float
    service: list[ServiceSample]
    channels: list[ChannelHistory]


class StatusRecorder:
    """Samples what is known without asking any database."""

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
        self._since, self._sampled_at = now(), clock()
        self._answered: Counter[float] = Counter()
        self._service: deque[ServiceSample] = deque(maxlen=MAX_SAMPLES)
        self._samples: dict[str, deque[ChannelSample]] = {}

    def history(self) -> StatusHistory:
        """All samples."""
        channels = [
            ChannelHistory(name, list(samples)) for name, samples in sorted(self._samples.items())
        ]
        return StatusHistory(self._since, self._interval_s, list(self._service), channels)

    async def record(self) -> None:
        """Takes samples; until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            self.sample()

    def sample(self) -> None:
        """Takes one sample of everything. Channels that are no more are forgotten."""
        at, clock = self._now(), self._clock()
        self._service.append(self._sample_service(at, clock - self._sampled_at))
        self._sampled_at = clock
        channels = {channel.name: channel for channel in self._channels()}
        self._samples = {
            name: self._samples.get(name, deque(maxlen=MAX_SAMPLES)) for name in channels
        }
        for name, channel in channels.items():
            known = channel.watch.latest
            is_new = known is not None and clock - known.read_at <= 2 * self._interval_s
            self._samples[name].append(_sample(known if is_new else None, at))

    def _sample_service(self, at: datetime, seconds: float) -> ServiceSample:
        answered = Counter[float]()
        for metric in self._registry.collect():
            for sample in metric.samples:
                if not sample.labels["route"].endswith("/stream"):
                    answered[float(sample.labels["le"])] += int(sample.value)
        lately = {bound: answered[bound] - self._answered[bound] for bound in sorted(answered)}
        self._answered = answered
        rate = round(lately.get(math.inf, 0) / seconds, 3) if seconds > 0 else 0.0
        return ServiceSample(at, rate, _quantile(lately, 0.5), _quantile(lately, 0.99))


def _quantile(cumulative: dict[float, int], share: float) -> float | None:
    """The milliseconds within which that share was answered, as if evenly spread in a bucket; None if none was.

    `cumulative` has the answers by the upper bounds of their seconds, ascending; the last bound is infinite.
    """
    wanted = share * cumulative.get(math.inf, 0)
    low, below = 0.0, 0
    for bound, count in cumulative.items():
        if count >= wanted > 0:
            reached = (
                low
                if math.isinf(bound)
                else low + (bound - low) * (wanted - below) / (count - below)
            )
            return round(1000 * reached, 3)
        low, below = bound, count
    return None


def _sample(snapshot: HeadSnapshot | None, at: datetime) -> ChannelSample:
    sync = snapshot.sync if snapshot is not None else None
    if (
        sync is not None
        and sync.state is not ChannelState.STOPPED
        and (at - sync.updated_at).total_seconds() > _SILENT_S
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
