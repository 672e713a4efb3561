"""The metrics of the verification of envelopes that the daemon exports for each channel."""

from typing import Final

from prometheus_client.core import CounterMetricFamily

from indexer.progress.channel_progress import ChannelProgress
from runtime.metrics import MetricDefinition

ENVELOPE_METRICS: Final[tuple[MetricDefinition[ChannelProgress], ...]] = (
    MetricDefinition(
        "kindledger_verified_height_blocks",
        "Blocks from 0 up to the highest one whose creators' and endorsers' signatures are "
        "verified; absent if the verification is off.",
        lambda channel: channel.envelopes.height if channel.envelopes is not None else None,
    ),
    MetricDefinition(
        "kindledger_verification_delay_seconds",
        "Seconds since the verification of envelopes last moved; 0 if every agreed block is "
        "verified.",
        lambda channel: (
            channel.envelopes.delay_s(channel.agreed_height)
            if channel.envelopes is not None
            else None
        ),
    ),
    MetricDefinition(
        "kindledger_contradicting_transactions",
        "Transactions whose validation code contradicts their signatures, in all verified blocks.",
        lambda channel: channel.envelopes.contradictions if channel.envelopes is not None else None,
    ),
    MetricDefinition(
        "kindledger_verified_envelopes_total",
        "Envelopes that this process verified.",
        lambda channel: channel.envelopes.checked if channel.envelopes is not None else None,
        family=CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_unchecked_envelopes_total",
        "Envelopes that this process could not verify wholly; their verdicts have the reasons.",
        lambda channel: channel.envelopes.not_checked if channel.envelopes is not None else None,
        family=CounterMetricFamily,
    ),
)
"""The metrics of the verification of a channel's envelopes."""
