"""Prints the report of an audit: for people, or beside the findings as CSV."""

import click

from cli.audit.report import AuditReport, CheckReport, Finding, Result, counted
from cli.output.console import escape_control_characters, print_table

CSV_COLUMNS = ("check", "kind", "block", "subject", "what")


def csv_cells(finding: Finding) -> tuple[object, ...]:
    """Return the cells of a finding, by `CSV_COLUMNS`."""
    return finding.check, finding.kind, finding.block, finding.subject, finding.what


def print_report(report: AuditReport, *, stderr: bool = False) -> None:
    """Print the range, the table of checks, remarks, the first findings, and the verdict.

    On stderr, beside findings as CSV, the findings are left out.
    """
    _print(f"{report.channel}: {_blocks(report)}: {report.rule}", stderr=stderr)
    if report.digest is not None:
        _print(f"digest of block {report.last_block}: {report.digest}", stderr=stderr)
    _print("", stderr=stderr)
    print_table(
        ("check", "result", "checked", "findings", "what a passed check says"),
        [_row(check) for check in report.checks],
        stderr=stderr,
    )
    for check in report.checks:
        for line in _remarks(check):
            _print(f"{check.name}: {line}", stderr=stderr)
    if report.findings and not stderr:
        _print("", stderr=False)
        for check in report.checks:
            _print_findings(check)
    _print("", stderr=stderr)
    _print(f"{report.channel}: {report.verdict}", stderr=stderr)


def _blocks(report: AuditReport) -> str:
    if report.first_block is None:
        return "no block"
    return f"blocks {report.first_block:,} to {report.last_block:,}"


def _row(check: CheckReport) -> tuple[object, ...]:
    checked = f"{check.checked:,} {check.unit}"
    return check.name, check.result.replace("_", " "), checked, check.findings, check.meaning


def _remarks(check: CheckReport) -> list[str]:
    is_configured = check.result is not Result.NOT_CONFIGURED
    mark = "not checked" if is_configured else "not configured"
    return [*(f"{mark}: {reason}" for reason in check.reasons), *check.notes]


def _print_findings(check: CheckReport) -> None:
    for finding in check.shown:
        where = f"block {finding.block:,}: " if finding.block is not None else ""
        subject = f"{finding.subject}: " if finding.subject is not None else ""
        _print(f"{check.name}: {where}{subject}{finding.kind}: {finding.what}", stderr=False)
    more = check.findings - len(check.shown)
    if more > 0:
        _print(f"{check.name}: {counted(more, 'further finding')}; --csv lists all", stderr=False)


def _print(line: str, *, stderr: bool) -> None:
    click.echo(escape_control_characters(line), err=stderr)
