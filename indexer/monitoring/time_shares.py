"""Shows where the time of indexing goes, and which part limits the rate."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct

from indexer.progress.channel_progress import ChannelProgress, Stage
from ledger.block_encoder import EncoderName


class Limit(StrEnum):
    """The part that limits the rate: the others wait for it."""

    SOURCE = "source"
    PROCESSOR = "processor"
    MONGODB = "mongodb"


_LIMITS: Final[Mapping[Stage, Limit]] = {
    Stage.WAIT_FOR_BLOCKS: Limit.SOURCE,
    Stage.DECODE: Limit.PROCESSOR,
    Stage.ENCODE: Limit.PROCESSOR,
    Stage.OWNERS: Limit.MONGODB,
    Stage.WAIT_FOR_ROOM: Limit.MONGODB,
    Stage.BUILD_INDEXES: Limit.MONGODB,
}
"""The stages of the task that decodes blocks, one of which is always active, and index builds."""

_ADVICE: Final = {
    Limit.SOURCE: (
        "The source of the blocks is the limit: a peer that is nearer, less busy or has a faster "
        "disk would help; files are read as fast as their disk allows"
    ),
    Limit.PROCESSOR: "This program's processor is the limit: a faster processor would help",
    Limit.MONGODB: (
        "MongoDB is the limit: more processors, a larger cache or a faster disk for it would help"
    ),
}
_COMPILED_ADVICE: Final = (
    ", and so would the compiled encoder, which is not in use: see `kindledger doctor`"
)


class TimeShares(Struct, frozen=True):
    """The seconds that each stage took within a period, and the part that limited the rate.

    Batches are written in parallel, so the stages that write can take more than the whole period.
    `limit` is None if nothing was done.
    """

    elapsed_s: float
    stages: dict[Stage, float]
    limit: Limit | None

    def share(self, stage: Stage) -> float:
        """Return the stage's share of the period, from 0 on."""
        return self.stages[stage] / self.elapsed_s if self.elapsed_s else 0.0


class StageTimes(Struct, frozen=True):
    """The seconds that each stage has taken in all, at a time."""

    at_s: float
    seconds: dict[Stage, float]


def stage_times(progress: ChannelProgress, at_s: float) -> StageTimes:
    """Return the seconds that each stage of a channel has taken until now, which is `at_s`."""
    return StageTimes(at_s, {stage: progress.stages[stage].sum for stage in Stage})


def time_shares(since: StageTimes, until: StageTimes) -> TimeShares:
    """Return the shares of the period between two readings."""
    stages = {stage: until.seconds[stage] - since.seconds[stage] for stage in Stage}
    by_limit = dict.fromkeys(Limit, 0.0)
    for stage, part in _LIMITS.items():
        by_limit[part] += stages[stage]
    limit = max(by_limit, key=by_limit.__getitem__) if any(by_limit.values()) else None
    return TimeShares(until.at_s - since.at_s, stages, limit)


def describe_limit(limit: Limit, encoder: EncoderName | None) -> str:
    """Return a sentence that says what limits the rate, and what would help."""
    advice = _ADVICE[limit]
    if limit is Limit.PROCESSOR and encoder is EncoderName.PYTHON:
        advice += _COMPILED_ADVICE
    return f"{advice}."
