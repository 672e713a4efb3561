"""What `--profile` says about the time of indexing."""

import pytest

from indexer.monitoring.time_shares import Limit, StageTimes, describe_limit, time_shares
from indexer.progress.channel_progress import Stage
from ledger.block_encoder import EncoderName


@pytest.mark.parametrize(
    ("slowest", "limit"),
    [
        (Stage.WAIT_FOR_BLOCKS, Limit.SOURCE),
        (Stage.ENCODE, Limit.PROCESSOR),
        (Stage.OWNERS, Limit.MONGODB),
        (Stage.WAIT_FOR_ROOM, Limit.MONGODB),
        (Stage.BUILD_INDEXES, Limit.MONGODB),
    ],
)
def test_the_part_that_the_others_wait_for_is_the_limit(slowest: Stage, limit: Limit) -> None:
    since = StageTimes(100.0, dict.fromkeys(Stage, 5.0))
    until = StageTimes(110.0, {stage: 10.0 if stage is slowest else 5.5 for stage in Stage})
    shares = time_shares(since, until)
    assert shares.limit is limit
    assert shares.share(slowest) == 0.5


def test_nothing_limits_a_channel_that_did_nothing() -> None:
    times = StageTimes(100.0, dict.fromkeys(Stage, 0.0))
    assert time_shares(times, times).limit is None


def test_the_compiled_encoder_is_recommended_where_it_would_help() -> None:
    assert "compiled" in describe_limit(Limit.PROCESSOR, EncoderName.PYTHON)
    assert "compiled" not in describe_limit(Limit.PROCESSOR, EncoderName.COMPILED)
    assert "compiled" not in describe_limit(Limit.MONGODB, EncoderName.PYTHON)
