"""The findings of a block are bounded, whatever its envelopes are."""

from ledger.trust.block_findings import MAX_FINDINGS, MAX_REASONS, OTHER_REASONS, sum_up
from ledger.trust.verdicts import (
    VALID,
    Check,
    CheckName,
    EnvelopeVerdict,
    Result,
    invalid,
    not_checked,
)
from protos.transaction_pb2 import BAD_CREATOR_SIGNATURE
from protos.transaction_pb2 import VALID as VALID_CODE


def verdict(creator: Check = VALID, endorsement: Check = VALID) -> EnvelopeVerdict:
    whole = creator if creator.result is not Result.VALID else endorsement
    return EnvelopeVerdict(whole.result, whole.reason, creator, VALID, endorsement)


def test_failures_and_contradictions_are_counted_beyond_those_that_are_kept() -> None:
    count = MAX_FINDINGS + 7
    forged = [verdict(invalid("creator: the signature is not the creator's"))] * count
    found = sum_up(
        [*forged, verdict(), *forged],
        bytes([BAD_CREATOR_SIGNATURE] * (count + 1) + [VALID_CODE] * count),
    )
    assert (found.envelopes, found.checked) == (2 * count + 1, 2 * count + 1)
    assert (len(found.failures), found.failure_count) == (MAX_FINDINGS, 2 * count)
    assert (len(found.contradictions), found.contradiction_count) == (MAX_FINDINGS, count + 1)
    good = found.contradictions[0]
    assert (good.index, good.check) == (count, CheckName.CREATOR)
    assert good.reason.endswith("the creator's signature is valid")


def test_reasons_are_counted_and_cannot_be_misused() -> None:
    """A client chooses parts of them, for example the chaincode's name."""
    texts = [f"chaincode{n}\x1b[2J\n: {'x' * 5_000}" for n in range(MAX_REASONS + 30)]
    verdicts = [verdict(endorsement=not_checked(text)) for text in texts]
    verdicts += [verdict(endorsement=not_checked("frequent"))] * 3
    found = sum_up(verdicts, bytes([VALID_CODE] * len(verdicts)))
    assert found.checked == 0
    assert found.not_checked[0].reason == "frequent"
    assert found.not_checked[-1].reason == OTHER_REASONS
    assert len(found.not_checked) == MAX_REASONS + 1
    assert sum(each.count for each in found.not_checked) == len(verdicts)
    assert all(each.reason.isprintable() for each in found.not_checked)
    assert max(len(each.reason) for each in found.not_checked) < 400
    assert not found.failures
