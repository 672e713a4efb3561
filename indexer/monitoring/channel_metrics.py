"""The metrics that the daemon exports for each channel.

The number of label values is bounded: channels are configured, and the other labels have a few
fixed values.
"""

from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from indexer.progress.channel_progress import ChannelProgress
from runtime.metrics import MetricDefinition, one_hot, timestamp

CHANNEL_METRICS: Final[tuple[MetricDefinition[ChannelProgress], ...]] = (
    MetricDefinition(
        "kindledger_channel_state",
        "1 for the present state of the channel, 0 for every other state.",
        lambda channel: one_hot(channel.state),
        "state",
    ),
    MetricDefinition(
        "kindledger_encoder_state",
        "1 for the encoder of blocks that is used, 0 for the other one.",
        lambda channel: one_hot(channel.encoder) if channel.encoder is not None else None,
        "encoder",
    ),
    MetricDefinition(
        "kindledger_peer_height_blocks",
        "Blocks that the peer has; absent until the peer reports its height.",
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
        "kindledger_agreed_height_blocks",
        "Blocks from 0 up to the highest one that the required number of peers gave.",
        lambda channel: channel.agreed_height,
    ),
    MetricDefinition(
        "kindledger_agreement_delay_seconds",
        "Seconds since the agreement of the peers last moved; 0 if every stored block is agreed.",
        lambda channel: channel.agreement_delay_s,
    ),
    MetricDefinition(
        "kindledger_compared_height_blocks",
        "Blocks from 0 up to the highest one that the peer gave as it is stored.",
        lambda channel: {
            peer: channel.agreement.height_of(peer, channel.committed_height)
            for peer in channel.agreement.organisations
        },
        "peer",
    ),
    MetricDefinition(
        "kindledger_divergence_height_blocks",
        "Blocks from 0 up to the last one before peers of the channel differ; absent if none does.",
        lambda channel: channel.agreement.disputed_at(channel.committed_height),
    ),
    MetricDefinition(
        "kindledger_lag_blocks",
        "Blocks that are known to exist but are not stored yet.",
        lambda channel: channel.lag,
    ),
    MetricDefinition(
        "kindledger_lag_seconds",
        "Seconds since the oldest block that is not stored became known; 0 if there is none.",
        lambda channel: channel.lag_s,
    ),
    MetricDefinition(
        "kindledger_transactions_per_second",
        "Transactions stored per second, over the last ten seconds.",
        lambda channel: channel.rate,
    ),
    MetricDefinition(
        "kindledger_catch_up_seconds",
        "Seconds until the store has the peer's present height, at the rate of the last ten "
        "seconds; absent if unknown.",
        lambda channel: channel.time_left_s,
    ),
    MetricDefinition(
        "kindledger_index_builds_left_seconds",
        "Seconds until the indexes that are being built are complete; absent if unknown.",
        lambda channel: (
            channel.index_build.seconds_left if channel.index_build is not None else None
        ),
    ),
    MetricDefinition(
        "kindledger_unchecked_block_signatures_total",
        "Blocks whose orderers' signatures could not be checked; the log has the reason.",
        lambda channel: channel.unchecked_signatures,
        family=CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_scrub_height_blocks",
        "Blocks that the present pass of the scrub has checked; absent before the first step.",
        lambda channel: channel.scrub.height if channel.scrub is not None else None,
    ),
    MetricDefinition(
        "kindledger_scrub_differences",
        "Differences in stored documents that the present pass of the scrub has found.",
        lambda channel: channel.scrub.differences if channel.scrub is not None else None,
    ),
    MetricDefinition(
        "kindledger_scrub_complete_timestamp_seconds",
        "When the scrub last completed a pass, in seconds since 1970; absent before the first one.",
        lambda channel: (
            timestamp(channel.scrub.last.at)
            if channel.scrub is not None and channel.scrub.last is not None
            else None
        ),
    ),
    MetricDefinition(
        "kindledger_archive_start_height",
        "Blocks below the lowest raw block that is kept; absent if none is.",
        lambda channel: channel.archive.first if channel.archive is not None else None,
    ),
    MetricDefinition(
        "kindledger_archive_height_blocks",
        "Blocks from 0 up to the highest raw block that is kept; absent if none is.",
        lambda channel: channel.archive.height if channel.archive is not None else None,
    ),
    MetricDefinition(
        "kindledger_archive_bytes",
        "Bytes of the raw blocks that are kept; absent if this is not known.",
        lambda channel: channel.archive.bytes if channel.archive is not None else None,
    ),
    MetricDefinition(
        "kindledger_last_commit_timestamp_seconds",
        "When a block was last stored, in seconds since 1970; absent before the first one.",
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
        "Transactions stored by this process that could be decoded only in part.",
        lambda channel: channel.undecodable,
        family=CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_known_blocks_total",
        "Blocks that were delivered again, and compared with the stored ones.",
        lambda channel: channel.redelivered_blocks,
        family=CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_unchecked_commit_hashes_total",
        "Blocks whose commit hashes were not checked, by reason.",
        lambda channel: channel.unchecked_commit_hashes,
        "reason",
        CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_delivered_bytes_total",
        "Bytes of blocks that were delivered.",
        lambda channel: channel.delivered_bytes,
        family=CounterMetricFamily,
    ),
    MetricDefinition(
        "kindledger_queue_bytes",
        "Bytes in the queue: of delivered blocks that are not decoded, or of encoded documents "
        "and raw blocks that are not being written.",
        lambda channel: {name: queue.size for name, queue in channel.queues.items()},
        "queue",
    ),
    MetricDefinition(
        "kindledger_queue_limit_bytes",
        "Bytes that the queue holds before the stage that fills it must wait.",
        lambda channel: {name: queue.limit for name, queue in channel.queues.items()},
        "queue",
    ),
    MetricDefinition(
        "kindledger_stage_duration_seconds",
        "Time that a stage took for a chunk of blocks, or for a batch.",
        lambda channel: channel.stages,
        "stage",
        HistogramMetricFamily,
    ),
    MetricDefinition(
        "kindledger_batch_transactions",
        "Transactions in each stored batch.",
        lambda channel: channel.batch_transactions,
        family=HistogramMetricFamily,
    ),
    MetricDefinition(
        "kindledger_batch_bytes",
        "Bytes of documents and raw blocks in each stored batch.",
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
        "Errors by origin.",
        lambda channel: channel.errors,
        "source",
        CounterMetricFamily,
    ),
)
"""The metrics of the indexing of a channel."""
