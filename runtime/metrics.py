"""Metrics whose values are read from the program's own state when Prometheus scrapes them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Generic, TypeVar

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
MetricValue = float | Histogram | None
"""The value of a metric; None is unknown, and is not exported."""


@dataclass(frozen=True)
class MetricDefinition(Generic[T]):
    """A metric of subjects of type `T`, and the function that reads its value from one of them.

    With a `label`, the function returns a mapping with one value for each value of the label.
    """

    name: str
    help: str
    read: Callable[[T], MetricValue | Mapping[str, MetricValue]]
    label: str | None = None
    family: type[GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily] = (
        GaugeMetricFamily
    )

    def metric(self, subject_label: str, subjects: Mapping[str, T]) -> Metric:
        """Return the present values for all subjects, each a value of the label `subject_label`."""
        labels = (subject_label, self.label) if self.label is not None else (subject_label,)
        family = self.family(self.name, self.help, labels=labels)
        for name, subject in subjects.items():
            value = self.read(subject)
            if isinstance(value, Mapping):
                for label_value, labelled_value in value.items():
                    _add(family, (name, label_value), labelled_value)
            else:
                _add(family, (name,), value)
        return family


def _add(
    family: GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily,
    labels: tuple[str, ...],
    value: MetricValue,
) -> None:
    if isinstance(family, HistogramMetricFamily):
        if isinstance(value, Histogram):
            family.add_metric(labels, value.cumulated(), value.sum)
    elif value is not None and not isinstance(value, Histogram):
        family.add_metric(labels, value)


def one_hot(state: Enum) -> dict[str, MetricValue]:
    """Return 1 for the value of `state`, 0 for every other value of its enumeration."""
    return {each.value: float(each is state) for each in type(state)}


def timestamp(at: datetime | None) -> float | None:
    """Return the time in seconds since 1970; None for None."""
    return at.timestamp() if at is not None else None


class MetricCollector(Collector, Generic[T]):
    """Exports the same metrics for several subjects, each a value of the label `subject_label`."""

    def __init__(
        self,
        definitions: Sequence[MetricDefinition[T]],
        subject_label: str,
        subjects: Mapping[str, T],
    ) -> None:
        self._definitions, self._subject_label = definitions, subject_label
        self._subjects = subjects

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics with their present values."""
        for definition in self._definitions:
            yield definition.metric(self._subject_label, self._subjects)


def process_registry(version: str) -> CollectorRegistry:
    """Return a registry with the metrics of the process: CPU, memory, files, garbage, version."""
    # The creation time of each series doubles the number of series, and is of no use here.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    build = Info("kindledger_build", "The version of the program.", registry=registry)
    build.info({"version": version})
    return registry
