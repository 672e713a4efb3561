"""What the daemon tells Prometheus of each channel.

Labels are bounded: channels are configured, everything else is one of a few names of ours.
"""

from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from indexer.channel_progress import ChannelProgress
from runtime.metrics import MetricDefinition, one_hot, timestamp

CHANNEL_METRICS: Final[tuple[MetricDefinition[ChannelProgress], ...]] = (
    MetricDefinition(
        "kindledger_channel_state",
        "1 for what the daemon is doing about the channel, 0 for every other state.",
        lambda channel: one_hot(channel.state),
        "state",
    ),
    MetricDefinition(
        "kindledger_peer_height_blocks",
        "Blocks that the peer has, as far as it told; absent before it did.",
        lambda channel: channel.peer_height,
    ),
    MetricDefinition(
        "kindledger_seen_height_blocks",
        "Blocks from 0 up to the highest one that was delivered.",
        lambda channel: channel.seen_height,
    ),
    MetricDefinition(
        "kindledger_committed_height_blocks",
        "Blocks from 0 up to the highest one that is stored.",
        lambda channel: channel.committed_height,
    ),
    MetricDefinition(
        "kindledger_lag_blocks",
        "Blocks that are known and not stored yet.",
        lambda channel: channel.lag,
    ),
    MetricDefinition(
        "kindledger_lag_seconds",
        "For how long the oldest block that is not stored yet has been known; 0 if there is none.",
        lambda channel: channel.lag_s,
    ),
    MetricDefinition(
        "kindledger_transactions_per_second",
        "Transactions stored a second, over the last ten seconds.",
        lambda channel: channel.rate,
    ),
    MetricDefinition(
        "kindledger_catch_up_seconds",
        "Time left until the store has what the peer has now, at the rate of the last ten seconds; absent if unknown.",
        lambda channel: channel.time_left_s,
    ),
    MetricDefinition(
        "kindledger_last_commit_timestamp_seconds",
        "When a block was last stored, since 1970; absent before the first one of this process.",
        lambda channel: timestamp(channel.committed_at),
    ),
    MetricDefinition(
        "kindledger_blocks_total",
        "Blocks stored by this process.",
        lambda channel: channel.blocks,
        family=CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_transactions_total",
        "Transactions stored by this process.",
        lambda channel: channel.transactions,
        family=CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_events_total",
        "Chaincode events stored by this process.",
        lambda channel: channel.events,
        family=CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_undecodable_transactions_total",
        "Transactions stored by this process that could not be read as deep as others.",
        lambda channel: channel.undecodable,
        family=CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_known_blocks_total",
        "Blocks that were delivered again, and compared with what is stored.",
        lambda channel: channel.redelivered_blocks,
        family=CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_delivered_bytes_total",
        "Bytes of blocks that were delivered.",
        lambda channel: channel.delivered_bytes,
        family=CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_queue_bytes",
        "Bytes that wait: of blocks delivered and not decoded, of documents encoded and not being written.",
        lambda channel: {name: queue.size for name, queue in channel.queues.items()},
        "queue",
    ),
    MetricDefinition(
        "kindledger_queue_limit_bytes",
        "Bytes that may wait before what fills the queue is held up.",
        lambda channel: {name: queue.limit for name, queue in channel.queues.items()},
        "queue",
    ),
    MetricDefinition(
        "kindledger_stage_duration_seconds",
        "Time that a stage took for what it does at once: a chunk of blocks, or a batch.",
        lambda channel: channel.stages,
        "stage",
        HistogramMetricFamily,
    ),
    MetricDefinition(
        "kindledger_batch_transactions",
        "Transactions of the batches that were stored.",
        lambda channel: channel.batch_transactions,
        family=HistogramMetricFamily,
    ),
    MetricDefinition(
        "kindledger_batch_bytes",
        "Bytes of documents of the batches that were stored.",
        lambda channel: channel.batch_bytes,
        family=HistogramMetricFamily,
    ),
    MetricDefinition(
        "kindledger_reconnects_total",
        "Connections to a peer that ended, or could not be made.",
        lambda channel: channel.reconnects,
        "reason",
        CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_errors_total",
        "Errors, by where they come from.",
        lambda channel: channel.errors,
        "source",
        CounterMetricFamily,
    ),
)
"""Of the indexing of a channel."""
