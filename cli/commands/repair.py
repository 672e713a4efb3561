"""`kindledger repair`: puts a stored ledger right with the blocks of a source."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import click
from msgspec import Struct
from pymongo import AsyncMongoClient

from cli.assembly.archive import raw_block_archive, raw_blocks
from cli.assembly.channel import new_progress
from cli.assembly.mongo import mongo_client, stored_channels
from cli.assembly.repairs import repair_store
from cli.assembly.signatures import source_signatures
from cli.commands.import_files import print_notices
from cli.commands.options import LoadSettings, json_option
from cli.commands.truncation import TruncationOrder, TruncationReport, truncate_channel
from cli.commands.verify import block_source, channel_of_source
from cli.configuration.settings import Settings
from cli.errors import ConfigurationError, Exit, UnavailableError, exit_on_failure
from cli.output.console import escape_control_characters, messages, print_json
from cli.output.progress_bars import phase_progress
from indexer.audit.raw_block_repair import RawBlockRepairer
from indexer.audit.repair import Cause, Finding, Repairer
from indexer.audit.source_checks import SourceChecks
from ledger.mongodb.index_builds import has_owner_index
from ledger.mongodb.repairs import RepairStore
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import MAX_SILENCE_OF_WORK_S, read_sync_state, reports_work

_MAX_SHOWN = 100


@click.command("repair", short_help="Put a stored ledger right with the blocks of a source.")
@click.option("--channel", help="The channel to repair; needed if several are stored.")
@click.option(
    "--source",
    metavar="PATH|peer[:NAME]|archive[:PLACE]",
    help="Block files, a configured peer, or the archive of raw blocks (PLACE is `mongodb` or a "
    "folder); without it only leftovers are found.",
)
@click.option(
    "--signatures/--no-signatures",
    default=True,
    help="Verify the orderers' signatures in the blocks of the source.",
    show_default=True,
)
@click.option("--apply", is_flag=True, help="Make the changes, and record them in `repairs`.")
@click.option(
    "--truncate-to",
    "last",
    type=click.IntRange(0),
    metavar="N",
    help="Cut off the blocks above block N, instead of comparing.",
)
@click.option("--yes", "confirmed", metavar="CHANNEL", help="Confirm a truncation of this channel.")
@click.option("--reason", default="", help="A note for the records.")
@json_option
@click.pass_obj
def repair_command(load: LoadSettings, /, *, as_json: bool, **options: Any) -> None:
    """Show what is wrong with a stored ledger, and put it right with --apply.

    Missing documents are inserted, altered ones replaced, and documents that the chain does not
    have are removed. Raw blocks that are missing or damaged are fetched from the source. Nothing is
    changed if source and store are different chains, or if a block of the source has a wrong commit
    hash or wrong signatures of the orderers. Exits 65 if something was found and not repaired. To
    change and remove documents, mongo.repair_uri must name a user with the role kindledgerRepair.
    Stop the channel's daemon before.
    """
    with exit_on_failure():
        code, result = asyncio.run(repair(load(), Options(**options)))
        if as_json:
            print_json(result)
        raise SystemExit(code)


class Options(Struct, frozen=True):
    """The options of the command; `last` is the block that becomes the highest one."""

    channel: str | None
    source: str | None
    signatures: bool
    apply: bool
    last: int | None
    confirmed: str | None
    reason: str


class Report(Struct, frozen=True, rename="camel"):
    """The outcome for the channel; `shown` holds the first findings, `remaining` counts them.

    `unchecked_commit_hashes` counts blocks of the source by reason, `unchecked_signatures` all.
    """

    channel: str
    source: str | None
    unchecked_commit_hashes: dict[str, int]
    unchecked_signatures: int
    applied: bool
    findings: int
    causes: dict[Cause, int]
    repaired: int
    remaining: int
    shown: list[Finding]


async def repair(settings: Settings, options: Options) -> tuple[Exit, Report | TruncationReport]:
    """Repair or truncate one channel; return the exit code and the outcome."""
    async with mongo_client(settings, repairs=options.apply) as client:
        channel = await _channel(client, settings, options)
        store = LedgerStore(client, settings.database_of(channel))
        if options.apply:
            await _check_no_daemon(store, channel)
        truncates = f"truncate to block {options.last}" if options.last is not None else ""
        reason = options.reason or truncates
        in_mongodb = settings.archive.keep and settings.archive.folder is None
        repairs, may_change = await repair_store(
            client, store, options.source, reason, changes_raw_blocks=in_mongodb
        )
        if options.last is not None:
            return await truncate_channel(
                settings, channel, store, repairs, _order(options), may_change=may_change
            )
        if options.source is not None and not await has_owner_index(store.database):
            raise UnavailableError(
                f"{channel}: the index of transaction ids does not exist, so the ledger cannot be "
                "compared with its source yet. `kindledger run` and `import` build missing indexes"
            )
        return await _repair(settings, channel, store, repairs, options, may_change=may_change)


def _order(options: Options) -> TruncationOrder:
    return TruncationOrder(options.last or 0, options.apply, options.confirmed)


async def _channel(
    client: AsyncMongoClient[dict[str, Any]], settings: Settings, options: Options
) -> str:
    """Return the channel to repair. Raises `ConfigurationError` if it is not clear."""
    channel = await channel_of_source(options.source, options.channel)
    if channel is not None:
        return channel
    channels = await stored_channels(client, settings)
    if len(channels) != 1:
        raise ConfigurationError(
            f"--channel: name the channel to repair, one of: {', '.join(channels) or 'none stored'}"
        )
    return next(iter(channels))


async def _check_no_daemon(store: LedgerStore, channel: str) -> None:
    state = await read_sync_state(store.database)
    if state is not None and reports_work(state, datetime.now(UTC)):
        raise UnavailableError(
            f"{channel}: a daemon or an import reported at {state.updated_at.isoformat()} that it "
            f"works on this channel ({state.state}), so nothing was changed. Stop it; if it was "
            f"killed, wait {MAX_SILENCE_OF_WORK_S:.0f} s"
        )


async def _repair(
    settings: Settings,
    channel: str,
    store: LedgerStore,
    repairs: RepairStore,
    options: Options,
    *,
    may_change: bool,
) -> tuple[Exit, Report]:
    shown: list[Finding] = []

    def report(finding: Finding) -> None:
        if len(shown) < _MAX_SHOWN:
            shown.append(finding)
            act = finding.repair if finding.repair is not None else "cannot be repaired"
            at = f"block {finding.block}: " if finding.block is not None else ""
            messages.print(
                escape_control_characters(f"{channel}: {at}{finding.what}: {act}"),
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

    source = (
        await block_source(settings, channel, options.source, store)
        if options.source is not None
        else None
    )
    progress = new_progress(channel)
    signatures = source_signatures(settings, channel, progress) if options.signatures else None
    checks = SourceChecks(store.database, progress, signatures)
    with phase_progress(channel) as (start, advance):
        repairer = Repairer(store, repairs, source, checks, report=report, advance=advance)
        found = await repairer.inspect(lambda last: start("comparing", last))
        if options.apply and found:
            start("repairing", repairer.last)
            await repairer.apply(may_change=may_change)
    print_notices(source)
    counts, repaired = repairer.counts, repairer.repaired
    if settings.archive.keep:
        archive = raw_blocks(settings, store.database, channel)
        of_archive = RawBlockRepairer(store, repairs, archive, source, report)
        if await of_archive.inspect() and options.apply:
            await _repair_archive(settings, channel, store, of_archive, may_change=may_change)
        counts, repaired = counts + of_archive.counts, repaired + of_archive.repaired
    remaining = counts.total() - repaired
    result = Report(
        channel,
        options.source,
        {reason: count for reason, count in progress.unchecked_commit_hashes.items() if count},
        progress.unchecked_signatures,
        options.apply,
        counts.total(),
        dict(counts),
        repaired,
        remaining,
        shown,
    )
    _print_doubt(channel, checks)
    _print_verdict(result, may_change=may_change)
    return Exit.DATA if remaining else Exit.OK, result


def _print_doubt(channel: str, checks: SourceChecks) -> None:
    """Warn of blocks whose commit hash contradicts the stored values from before the block."""
    doubtful = checks.doubtful
    if doubtful is None:
        return
    more = checks.doubtful_count - 1
    messages.print(
        f"{channel}: block {doubtful.block}: the source's commit hash is {doubtful.claimed}, with "
        f"the stored values of earlier blocks it would be {doubtful.computed}"
        f"{f' (and so in {more:,} further blocks)' if more else ''}. Earlier documents are "
        "damaged, or the source's peer keeps its state in CouchDB, or the source's codes are "
        "wrong. Run the command again after the repair: if this is still said, compare the block "
        "with the block of another peer",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


async def _repair_archive(
    settings: Settings,
    channel: str,
    store: LedgerStore,
    repairer: RawBlockRepairer,
    *,
    may_change: bool,
) -> None:
    """Repair the archive. The rights on files decide whether one in a folder may be changed."""
    async with raw_block_archive(settings, store.database, channel) as archive:
        if archive is not None:
            in_folder = settings.archive.folder is not None
            await repairer.apply(archive, may_change=may_change or in_folder)


def _print_verdict(report: Report, *, may_change: bool) -> None:
    if not report.findings:
        verdict = "nothing to repair"
    elif not report.applied:
        verdict = f"{report.findings:,} findings; --apply repairs them"
    else:
        verdict = f"{report.repaired:,} of {report.findings:,} findings repaired"
    if report.applied and report.remaining and not may_change:
        verdict += (
            ". This user of MongoDB may only add documents; name one with the role "
            "kindledgerRepair in mongo.repair_uri"
        )
    messages.print(f"{report.channel}: {verdict}", markup=False, highlight=False, soft_wrap=True)
