"""The report of an audit: its checks, what each of them found, and the verdict."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct

from cli.errors import Exit

MAX_SHOWN: Final = 100
"""The number of findings of each check that a report shows; all of them are counted."""


class CheckName(StrEnum):
    """The checks of an audit, in the order of the report."""

    RANGE = "range"
    CHAIN = "chain"
    DIGESTS = "digests"
    COUNTS = "counts"
    EVENTS = "events"
    DOCUMENTS = "documents"
    SIGNATURES = "signatures"
    VERDICTS = "verdicts"
    AGREEMENT = "agreement"
    ROWS = "rows"
    MISSING_ROWS = "missing_rows"
    DISCREPANCIES = "discrepancies"


MEANINGS: Final = {
    CheckName.RANGE: "every block of the range is stored, up to its end",
    CheckName.CHAIN: "numbers, previous hashes and header hashes",
    CheckName.DIGESTS: "no document was changed since it was stored",
    CheckName.COUNTS: "every transaction and event that a block counts, with its code",
    CheckName.EVENTS: "every event has its VALID transaction",
    CheckName.DOCUMENTS: "the documents are those of the source's blocks",
    CheckName.SIGNATURES: "the source's signatures are right, and agree with the codes",
    CheckName.VERDICTS: "every block is verified, and no code contradicts the signatures",
    CheckName.AGREEMENT: "the required organisations gave every block",
    CheckName.ROWS: "every business row says what the ledger says",
    CheckName.MISSING_ROWS: "every business transaction has its row",
    CheckName.DISCREPANCIES: "no discrepancy is open",
}
"""What a check says if it found nothing."""

_UNITS: Final = {
    CheckName.COUNTS: "transactions",
    CheckName.EVENTS: "events",
    CheckName.ROWS: "rows",
    CheckName.MISSING_ROWS: "transactions",
    CheckName.DISCREPANCIES: "blocks",
}
"""What a check counts; other checks count blocks."""


class Result(StrEnum):
    """The result of a check; one that was made in part only is `not_checked` or has findings."""

    PASSED = "passed"
    FINDINGS = "findings"
    NOT_CHECKED = "not_checked"
    NOT_CONFIGURED = "not_configured"


class Finding(Struct, frozen=True):
    """Something that is not as it must be.

    `subject` is a transaction's id, or a business table and the key of a row, if it is about one.
    """

    check: CheckName
    kind: str
    block: int | None
    subject: str | None
    what: str


class CheckReport(Struct, frozen=True, rename="camel"):
    """A check: how much it checked, how many findings there are, and the first of them.

    `reasons` say what was not checked and why; `notes` say what else a reader should know.
    """

    name: CheckName
    meaning: str
    result: Result
    checked: int
    unit: str
    findings: int
    reasons: list[str]
    notes: list[str]
    shown: list[Finding]


class Check:
    """A check that is being made; `found` receives each finding."""

    def __init__(self, name: CheckName, found: Callable[[Finding], None]) -> None:
        self.name, self._found = name, found
        self.checked = 0
        self.notes: list[str] = []
        self.reasons: list[str] = []
        self.is_unavailable = False
        self.is_configured = True
        self._findings, self._shown = 0, list[Finding]()

    def add(
        self, kind: str, what: str, *, block: int | None = None, subject: str | None = None
    ) -> None:
        """Record a finding."""
        finding = Finding(self.name, kind, block, subject, what)
        self._findings += 1
        if len(self._shown) < MAX_SHOWN:
            self._shown.append(finding)
        self._found(finding)

    def not_checked(self, reason: str, *, unavailable: bool = False) -> None:
        """Record what was not checked, and whether a server is unavailable."""
        self.reasons.append(reason)
        self.is_unavailable = self.is_unavailable or unavailable

    def not_configured(self, reason: str) -> None:
        """Record that there is nothing to check, because a part is not configured."""
        self.reasons.append(reason)
        self.is_configured = False

    @property
    def result(self) -> Result:
        """What came out of the check."""
        if self._findings:
            return Result.FINDINGS
        if not self.is_configured:
            return Result.NOT_CONFIGURED
        return Result.NOT_CHECKED if self.reasons else Result.PASSED

    @property
    def exit_code(self) -> Exit:
        """The exit code that the check alone would give."""
        if self.result is Result.NOT_CHECKED:
            return Exit.UNAVAILABLE if self.is_unavailable else Exit.CONFIGURATION
        return Exit.DATA if self.result is Result.FINDINGS else Exit.OK

    def report(self) -> CheckReport:
        """Return the check as it is now."""
        return CheckReport(
            self.name,
            MEANINGS[self.name],
            self.result,
            self.checked,
            _UNITS.get(self.name, "blocks"),
            self._findings,
            self.reasons,
            self.notes,
            self._shown,
        )


class Checks:
    """All checks of an audit, by name."""

    def __init__(self, found: Callable[[Finding], None]) -> None:
        self._checks = {name: Check(name, found) for name in CheckName}

    def __getitem__(self, name: CheckName) -> Check:
        return self._checks[name]

    def not_checked(
        self, names: Iterable[CheckName], reason: str, *, unavailable: bool = False
    ) -> None:
        """Record for several checks the same reason."""
        for name in names:
            self[name].not_checked(reason, unavailable=unavailable)

    def reports(self) -> list[CheckReport]:
        """Return the reports of all checks."""
        return [check.report() for check in self._checks.values()]

    @property
    def exit_code(self) -> Exit:
        """The exit code: a finding goes before a server that is unavailable, then other reasons."""
        codes = {check.exit_code for check in self._checks.values()}
        order = (Exit.DATA, Exit.UNAVAILABLE, Exit.CONFIGURATION)
        return next((code for code in order if code in codes), Exit.OK)


class AuditReport(Struct, frozen=True, rename="camel"):
    """The report of an audit of one channel.

    `range_from` and `range_to` are the ends as they were given. `since` and `until` are the times
    of the range, null where it begins or ends with a block. `first_block` and `last_block` are the
    audited blocks, null if there is none; `rule` says how they follow from the range. `digest` is
    that of the last block, on which every earlier document of the ledger depends.
    """

    channel: str
    at: datetime
    version: str
    range_from: str
    range_to: str
    since: datetime | None
    until: datetime | None
    rule: str
    first_block: int | None
    last_block: int | None
    start_block: int
    height: int
    digest: str | None
    findings: int
    exit_code: int
    verdict: str
    checks: list[CheckReport]


def verdict(exit_code: Exit, checks: Sequence[CheckReport]) -> str:
    """Return the verdict in a sentence."""
    found = [check for check in checks if check.findings]
    unconfigured = [check for check in checks if check.result is Result.NOT_CONFIGURED]
    incomplete = [check for check in checks if check.reasons and check not in unconfigured]
    if exit_code is Exit.OK:
        parts = ["every check was made over the whole range, and nothing was found"]
    else:
        total = sum(check.findings for check in found)
        parts = [f"{counted(total, 'finding')} ({_names(found)})" if found else "no finding"]
    if incomplete:
        parts.append(f"not checked, at least in part: {_names(incomplete)}")
    if unconfigured:
        parts.append(f"not configured: {_names(unconfigured)}")
    return "; ".join(parts)


def counted(count: int, noun: str) -> str:
    """Return the number with the noun in singular or plural: `1 block`, `1,234 blocks`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _names(checks: Iterable[CheckReport]) -> str:
    return ", ".join(check.name for check in checks)
