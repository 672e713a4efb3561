"""`kindledger audit`: one report over a range of a ledger, and the lists that auditors ask for."""

import asyncio
from datetime import UTC, datetime

import click
from msgspec import Struct

from cli.assembly.mongo import mongo_client, one_channel
from cli.audit.audit import AuditParts, AuditRequest, audit
from cli.audit.printing import CSV_COLUMNS, csv_cells, print_report
from cli.audit.report import AuditReport, Finding
from cli.audit.source_checks import OpenSource
from cli.audit.when import When
from cli.commands.audit_lists import key_command, transactions_command
from cli.commands.audit_options import (
    channel_option,
    check_form,
    check_order,
    csv_option,
    from_option,
    to_option,
)
from cli.commands.options import LoadSettings, json_option
from cli.commands.verify import block_source, channel_of_source
from cli.configuration.settings import Settings
from cli.errors import exit_on_failure
from cli.output.console import messages, print_json
from cli.output.csv_lines import print_csv
from cli.output.progress_bars import phase_progress

_DEFAULT_SOURCE = "peer"
"""Another peer than the one that the data came from."""


@click.group(
    "audit",
    invoke_without_command=True,
    short_help="Check a range of a ledger in every way.",
)
@from_option
@to_option
@channel_option
@click.option(
    "--source",
    metavar="PATH|peer[:NAME]|archive",
    help="The blocks to compare with: block files, or a configured peer.  "
    "[default: another peer than the one that the data came from]",
)
@click.option(
    "--expect-digest",
    metavar="HEX",
    help="The digest that was written down of the last block of the range.",
)
@json_option
@csv_option
@click.pass_context
def audit_group(
    context: click.Context,
    /,
    *,
    begin: When | None,
    end: When | None,
    channel: str | None,
    source: str | None,
    expect_digest: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Check a range of a ledger in every way, and print one report.

    The range is given by dates, months or times of UTC, or by block:N. Its blocks are those from
    the first to the last one that has a transaction whose client's time is in the range. Nothing is
    written to any database, and the rights to read suffice.

    \b
    Exit codes:
      0    every check was made over the whole range, and nothing was found
      65   there are findings
      69   no finding, but a server was unavailable for a check
      78   no finding, but a check was not made over the whole range
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    if context.invoked_subcommand is not None:
        return
    if begin is None or end is None:
        raise click.UsageError("give the range: --from WHEN and --to WHEN")
    check_order(begin, end)
    check_form(as_json=as_json, as_csv=as_csv)
    load: LoadSettings = context.obj
    with exit_on_failure():
        digest = expect_digest.lower() if expect_digest is not None else None
        options = AuditOptions(channel, begin, end, source, digest, as_json, as_csv)
        raise SystemExit(asyncio.run(run_audit(load(), options)))


class AuditOptions(Struct, frozen=True):
    """The options of the command."""

    channel: str | None
    begin: When
    end: When
    source: str | None = None
    expected_digest: str | None = None
    as_json: bool = False
    as_csv: bool = False


async def run_audit(settings: Settings, options: AuditOptions) -> int:
    """Audit the range, print the report, and return the exit code."""
    channel = await channel_of_source(options.source, options.channel)
    if options.as_csv:
        print_csv(CSV_COLUMNS)

    def found(finding: Finding) -> None:
        if options.as_csv:
            print_csv(csv_cells(finding))

    async with mongo_client(settings) as client:
        channel, database = await one_channel(client, settings, channel)
        with phase_progress(channel) as (phase, advance):
            parts = AuditParts(
                client, _source_opener(settings, channel, options.source), found, phase, advance
            )
            request = AuditRequest(
                channel, database, options.begin, options.end, options.expected_digest
            )
            report = await audit(settings, request, parts, datetime.now(UTC))
    _print(report, options)
    return report.exit_code


def _source_opener(settings: Settings, channel: str, source: str | None) -> OpenSource | None:
    """Return what opens the source of blocks; None if none is named, and no peer is configured."""
    fabric = settings.fabric
    if source is None and not fabric.peers and fabric.connection_profile is None:
        return None
    return lambda store: block_source(settings, channel, source or _DEFAULT_SOURCE, store)


def _print(report: AuditReport, options: AuditOptions) -> None:
    if options.as_json:
        print_json(report)
        messages.print(report.verdict, markup=False, highlight=False, soft_wrap=True)
    else:
        print_report(report, stderr=options.as_csv)


audit_group.add_command(transactions_command)
audit_group.add_command(key_command)
