"""Sums up the verdicts on the envelopes of a block: what was checked, what failed, and why."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from ledger.trust.contradictions import contradiction
from ledger.trust.verdicts import CheckName, EnvelopeVerdict, Result

MAX_FINDINGS: Final = 100
"""The most failures, and the most contradictions, of a block that are kept one by one."""

MAX_REASONS: Final = 20
"""The most reasons why envelopes of a block were not checked that are counted one by one."""

OTHER_REASONS: Final = "other reasons"
_MAX_REASON_CHARACTERS: Final = 300


class Finding(Struct, frozen=True):
    """A check that failed, or that contradicts the validation code of an envelope.

    `index`: the envelope's index in its block. `code`: the validation code that the peer gave.
    """

    index: int
    code: int
    check: CheckName
    reason: str


class ReasonCount(Struct, frozen=True):
    """The number of envelopes that were not checked for a reason."""

    reason: str
    count: int


class BlockFindings(Struct, frozen=True):
    """What the verification of a block's envelopes found.

    `envelopes`: their number. `checked`: of how many every signature and policy was checked, or one
    check failed. `failures`: the first checks that failed, whatever the code is; `contradictions`:
    the first ones that contradict the code. The counts are those of all failures and
    contradictions.
    """

    envelopes: int
    checked: int
    not_checked: tuple[ReasonCount, ...] = ()
    failures: tuple[Finding, ...] = ()
    failure_count: int = 0
    contradictions: tuple[Finding, ...] = ()
    contradiction_count: int = 0


def sum_up(verdicts: Sequence[EnvelopeVerdict], codes: bytes) -> BlockFindings:
    """Return the findings of a block, whose envelopes have these verdicts and codes."""
    reasons: Counter[str] = Counter()
    failures: list[Finding] = []
    contradictions: list[Finding] = []
    for index, (verdict, code) in enumerate(zip(verdicts, codes, strict=True)):
        if verdict.result is Result.NOT_CHECKED:
            reasons[_printable(verdict.reason)] += 1
        elif verdict.result is Result.INVALID:
            name = next(n for n in CheckName if verdict.check(n).result is Result.INVALID)
            failures.append(_finding(index, code, name, verdict.reason))
        found = contradiction(code, verdict)
        if found is not None:
            contradictions.append(_finding(index, code, found.check, found.reason))
    return BlockFindings(
        envelopes=len(verdicts),
        checked=len(verdicts) - reasons.total(),
        not_checked=_bounded(reasons),
        failures=tuple(failures[:MAX_FINDINGS]),
        failure_count=len(failures),
        contradictions=tuple(contradictions[:MAX_FINDINGS]),
        contradiction_count=len(contradictions),
    )


def unchecked(envelopes: int, reason: str) -> BlockFindings:
    """Return the findings of a block of which nothing could be checked."""
    return BlockFindings(envelopes, 0, (ReasonCount(_printable(reason), envelopes),))


def _finding(index: int, code: int, check: CheckName, reason: str) -> Finding:
    return Finding(index, code, check, _printable(reason))


def _printable(reason: str) -> str:
    """Return a reason of limited length without control characters: clients choose parts of it."""
    short = reason[:_MAX_REASON_CHARACTERS]
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in short)


def _bounded(reasons: Counter[str]) -> tuple[ReasonCount, ...]:
    """Return the reasons and their counts, the most frequent first, the rest as one."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    counts = [ReasonCount(*item) for item in ordered[:MAX_REASONS]]
    rest = _total(ordered[MAX_REASONS:])
    return (*counts, ReasonCount(OTHER_REASONS, rest)) if rest else tuple(counts)


def _total(items: Iterable[tuple[str, int]]) -> int:
    return sum(count for _, count in items)
