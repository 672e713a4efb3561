"""What the daemon tells Prometheus: read from the figures that it keeps anyway, when it is asked. Nothing is pushed.

Labels are bounded: channels, tables and servers are configured, everything else is one of a few names of ours.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, Generic, TypeVar

from msgspec import Struct
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from indexer.progress import Progress
from ledger.distribution import Distribution
from ledger.sync_state import State

T = TypeVar("T")
Value = float | Distribution | None


class Figure(Struct, Generic[T], frozen=True):
    """A metric: `read` gives its value for a channel, or with a `label` one for each value of that.

    What is None is not known, and not shown.
    """

    name: str
    help: str
    read: Callable[[T], Value | Mapping[str, Value]]
    label: str | None = None
    family: type[GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily] = GaugeMetricFamily

    def metric(self, subjects: Mapping[str, T]) -> Metric:
        """As it is now, for each channel."""
        family = self.family(self.name, self.help, labels=("channel", *((self.label,) if self.label else ())))
        for channel, subject in subjects.items():
            found = self.read(subject)
            if isinstance(found, Mapping):
                for key, value in found.items():
                    _add(family, (channel, key), value)
            else:
                _add(family, (channel,), found)
        return family


def _add(
    family: GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily, labels: tuple[str, ...], value: Value
) -> None:
    if isinstance(family, HistogramMetricFamily):
        if isinstance(value, Distribution):
            family.add_metric(labels, value.cumulated(), value.sum)
    elif value is not None and not isinstance(value, Distribution):
        family.add_metric(labels, value)


def one_hot(state: State) -> dict[str, Value]:
    """1 for the state, 0 for every other."""
    return {each.value: float(each is state) for each in State}


def timestamp(at: datetime | None) -> float | None:
    """In seconds since 1970."""
    return at.timestamp() if at is not None else None


class FigureCollector(Collector, Generic[T]):
    """Reads figures of channels."""

    def __init__(self, figures: Sequence[Figure[T]], channels: Mapping[str, T]) -> None:
        self._figures, self._channels = figures, channels

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        for figure in self._figures:
            yield figure.metric(self._channels)


def process_registry(version: str) -> CollectorRegistry:
    """A registry with what holds for every process of the program: CPU, memory, files, collections, version."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series, and nobody looks at them
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    Info("kindledger_build", "The program.", registry=registry).info({"version": version})
    return registry


CHANNEL_FIGURES: Final[tuple[Figure[Progress], ...]] = (
    Figure(
        "kindledger_channel_state",
        "1 for what the daemon is doing about the channel, 0 for every other state.",
        lambda channel: one_hot(channel.state),
        "state",
    ),
    Figure(
        "kindledger_peer_height_blocks",
        "Blocks that the peer has, as far as it told; absent before it did.",
        lambda channel: channel.peer_height,
    ),
    Figure(
        "kindledger_seen_height_blocks",
        "Blocks from 0 up to the highest one that was delivered.",
        lambda channel: channel.seen_height,
    ),
    Figure(
        "kindledger_committed_height_blocks",
        "Blocks from 0 up to the highest one that is stored.",
        lambda channel: channel.committed_height,
    ),
    Figure(
        "kindledger_lag_blocks",
        "Blocks that are known and not stored yet.",
        lambda channel: channel.lag,
    ),
    Figure(
        "kindledger_lag_seconds",
        "For how long the oldest block that is not stored yet has been known; 0 if there is none.",
        lambda channel: channel.lag_s,
    ),
    Figure(
        "kindledger_transactions_per_second",
        "Transactions stored a second, over the last ten seconds.",
        lambda channel: channel.rate,
    ),
    Figure(
        "kindledger_catch_up_seconds",
        "Time left until the store has what the peer has now, at the rate of the last ten seconds; absent if unknown.",
        lambda channel: channel.time_left_s,
    ),
    Figure(
        "kindledger_last_commit_timestamp_seconds",
        "When a block was last stored, since 1970; absent before the first one of this process.",
        lambda channel: timestamp(channel.committed_at),
    ),
    Figure(
        "kindledger_blocks_total",
        "Blocks stored by this process.",
        lambda channel: channel.blocks,
        family=CounterMetricFamily,
    ),
    Figure(
        "kindledger_transactions_total",
        "Transactions stored by this process.",
        lambda channel: channel.transactions,
        family=CounterMetricFamily,
    ),
    Figure(
        "kindledger_events_total",
        "Chaincode events stored by this process.",
        lambda channel: channel.events,
        family=CounterMetricFamily,
    ),
    Figure(
        "kindledger_undecodable_transactions_total",
        "Transactions stored by this process that could not be read as deep as others.",
        lambda channel: channel.undecodable,
        family=CounterMetricFamily,
    ),
    Figure(
        "kindledger_known_blocks_total",
        "Blocks that were delivered again, and compared with what is stored.",
        lambda channel: channel.known_blocks,
        family=CounterMetricFamily,
    ),
    Figure(
        "kindledger_delivered_bytes_total",
        "Bytes of blocks that were delivered.",
        lambda channel: channel.delivered_bytes,
        family=CounterMetricFamily,
    ),
    Figure(
        "kindledger_queue_bytes",
        "Bytes that wait: of blocks delivered and not decoded, of documents encoded and not being written.",
        lambda channel: {name: queue.size for name, queue in channel.queues.items()},
        "queue",
    ),
    Figure(
        "kindledger_queue_limit_bytes",
        "Bytes that may wait before what fills the queue is held up.",
        lambda channel: {name: queue.limit for name, queue in channel.queues.items()},
        "queue",
    ),
    Figure(
        "kindledger_stage_duration_seconds",
        "Time that a stage took for what it does at once: a chunk of blocks, or a batch.",
        lambda channel: channel.stages,
        "stage",
        HistogramMetricFamily,
    ),
    Figure(
        "kindledger_batch_transactions",
        "Transactions of the batches that were stored.",
        lambda channel: channel.batch_transactions,
        family=HistogramMetricFamily,
    ),
    Figure(
        "kindledger_batch_bytes",
        "Bytes of documents of the batches that were stored.",
        lambda channel: channel.batch_bytes,
        family=HistogramMetricFamily,
    ),
    Figure(
        "kindledger_reconnects_total",
        "Connections to a peer that ended, or could not be made.",
        lambda channel: channel.reconnects,
        "reason",
        CounterMetricFamily,
    ),
    Figure(
        "kindledger_errors_total",
        "Errors, by where they come from.",
        lambda channel: channel.errors,
        "source",
        CounterMetricFamily,
    ),
)
"""Of the indexing of a channel."""
