"""Metrics that are read when Prometheus scrapes them: nothing is pushed, nothing is counted twice."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Generic, TypeVar

from msgspec import Struct
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from runtime.histogram import Histogram

T = TypeVar("T")
Value = float | Histogram | None


class MetricDefinition(Struct, Generic[T], frozen=True):
    """A metric: `read` gives its value for a channel, or with a `label` one for each value of that.

    What is None is not known, and not shown.
    """

    name: str
    help: str
    read: Callable[[T], Value | Mapping[str, Value]]
    label: str | None = None
    family: type[GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily] = (
        GaugeMetricFamily
    )

    def metric(self, subjects: Mapping[str, T]) -> Metric:
        """As it is now, for each channel."""
        family = self.family(
            self.name, self.help, labels=("channel", *((self.label,) if self.label else ()))
        )
        for channel, subject in subjects.items():
            found = self.read(subject)
            if isinstance(found, Mapping):
                for key, value in found.items():
                    _add(family, (channel, key), value)
            else:
                _add(family, (channel,), found)
        return family


def _add(
    family: GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily,
    labels: tuple[str, ...],
    value: Value,
) -> None:
    if isinstance(family, HistogramMetricFamily):
        if isinstance(value, Histogram):
            family.add_metric(labels, value.cumulated(), value.sum)
    elif value is not None and not isinstance(value, Histogram):
        family.add_metric(labels, value)


def one_hot(state: Enum) -> dict[str, Value]:
    """Return 1 for the value of `state`, 0 for every other value of its enumeration."""
    return {each.value: float(each is state) for each in type(state)}


def timestamp(at: datetime | None) -> float | None:
    """In seconds since 1970."""
    return at.timestamp() if at is not None else None


class MetricCollector(Collector, Generic[T]):
    """Reads figures of channels."""

    def __init__(self, figures: Sequence[MetricDefinition[T]], channels: Mapping[str, T]) -> None:
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
