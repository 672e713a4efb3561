"""Metrics as Prometheus scrapes them."""

from typing import Final

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from explorer_api.answers import NO_STORE, Answer
from explorer_api.dispatch import Call

PROMETHEUS: Final = CONTENT_TYPE_PLAIN_0_0_4


async def expose_metrics(call: Call) -> Answer:
    """Everything that this process counts and measures, in Prometheus' text format."""
    return Answer(generate_latest(call.services.metrics.registry), NO_STORE, content_type=PROMETHEUS)
