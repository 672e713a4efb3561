"""The report on an evidence bundle, as text for people."""

import json
from collections.abc import Iterator

from cli.output.console import escape_control_characters
from ledger.evidence.report import EvidenceReport

_MAX_SHOWN_CHARACTERS = 300


def describe(report: EvidenceReport) -> str:
    """Return the report as lines of printable text."""
    return "\n".join(map(escape_control_characters, _lines(report)))


def _lines(report: EvidenceReport) -> Iterator[str]:
    if report.statement is None:
        yield f"NOT VERIFIED: {report.failure}"
        return
    yield "VERIFIED"
    for name, fact in report.statement.items():
        text = fact if isinstance(fact, str) else json.dumps(fact, ensure_ascii=False)
        shown = text[:_MAX_SHOWN_CHARACTERS]
        yield f"  {name}: {shown}{'…' if len(shown) < len(text) else ''}"
    if report.commit_hash is not None:
        yield f"  commit hash: {report.commit_hash}"
    yield "Proved:"
    yield from (f"  - {text}" for text in report.proved)
    yield "Not proved:"
    yield from (f"  - {text}" for text in report.not_proved)
