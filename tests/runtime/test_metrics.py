"""Metrics as Prometheus reads them: names, labels, and values at the time of the scrape."""

from enum import Enum

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from runtime.histogram import Histogram
from runtime.metrics import MetricCollector, MetricDefinition, one_hot


class State(Enum):
    OPEN = "open"
    CLOSED = "closed"


class Shop:
    def __init__(self, sales: int, state: State, stock: int | None = None) -> None:
        self.sales, self.state, self.stock = sales, state, stock
        self.prices = Histogram((1.0, 10.0))


METRICS = (
    MetricDefinition[Shop](
        "shop_sales_total", "Sales.", lambda shop: shop.sales, family=CounterMetricFamily
    ),
    MetricDefinition[Shop]("shop_state", "State.", lambda shop: one_hot(shop.state), "state"),
    MetricDefinition[Shop]("shop_stock", "Stock.", lambda shop: shop.stock),
    MetricDefinition[Shop](
        "shop_prices", "Prices.", lambda shop: shop.prices, family=HistogramMetricFamily
    ),
)


def scrape(registry: CollectorRegistry) -> set[str]:
    text = generate_latest(registry).decode()
    return {line for line in text.splitlines() if not line.startswith("#")}


def test_every_subject_has_its_values_under_the_subject_label() -> None:
    shops = {"north": Shop(3, State.OPEN, stock=5), "south": Shop(0, State.CLOSED)}
    shops["north"].prices.observe(10.0)
    shops["north"].prices.observe(10.5)
    registry = CollectorRegistry()
    registry.register(MetricCollector(METRICS, "shop", shops))
    samples = scrape(registry)
    assert samples >= {
        'shop_sales_total{shop="north"} 3.0',
        'shop_sales_total{shop="south"} 0.0',
        'shop_state{shop="north",state="open"} 1.0',
        'shop_state{shop="north",state="closed"} 0.0',
        'shop_stock{shop="north"} 5.0',
        'shop_prices_bucket{le="1.0",shop="north"} 0.0',
        'shop_prices_bucket{le="10.0",shop="north"} 1.0',
        'shop_prices_bucket{le="+Inf",shop="north"} 2.0',
        'shop_prices_sum{shop="north"} 20.5',
    }
    assert not any(sample.startswith('shop_stock{shop="south"') for sample in samples)
    shops["south"].sales += 1
    assert 'shop_sales_total{shop="south"} 1.0' in scrape(registry)
