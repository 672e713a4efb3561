"""Shows where the time of indexing went."""

from cli.output.console import messages
from indexer.monitoring.time_shares import TimeShares, describe_limit
from indexer.progress.channel_progress import Stage
from ledger.block_encoder import EncoderName

_MEANINGS = {
    Stage.WAIT_FOR_BLOCKS: "waiting for the source of blocks",
    Stage.DECODE: "checking blocks, reading ids",
    Stage.OWNERS: "looking up owners of ids in MongoDB",
    Stage.ENCODE: "making documents",
    Stage.WAIT_FOR_ROOM: "waiting for MongoDB to take documents",
    Stage.WRITE_DOCUMENTS: "MongoDB: transactions and events",
    Stage.WRITE_BLOCKS: "MongoDB: blocks",
    Stage.BUILD_INDEXES: "MongoDB: building indexes",
}


def print_profile(channel: str, shares: TimeShares, encoder: EncoderName | None) -> None:
    """Print each stage's share of the time, and a sentence on what limited the rate."""
    messages.print(f"{channel}: where {shares.elapsed_s:.1f} s went, encoder {encoder}")
    for stage, meaning in _MEANINGS.items():
        messages.print(f"{shares.share(stage):6.0%}  {meaning}", highlight=False)
    if shares.limit is not None:
        messages.print(describe_limit(shares.limit, encoder), highlight=False, soft_wrap=True)
