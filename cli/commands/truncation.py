"""Cuts off the highest blocks of a stored ledger, for `kindledger repair --truncate-to`."""

import sys

import click
from msgspec import Struct

from cli.assembly.archive import raw_block_archive
from cli.assembly.settled_rows import lower_settled_height
from cli.configuration.settings import Settings
from cli.errors import ConfigurationError, Exit
from cli.output.console import messages
from cli.output.progress_bars import phase_progress
from indexer.audit.raw_block_repair import remove_raw_blocks
from indexer.audit.truncation import Truncation, plan_truncation, truncate
from ledger.mongodb.repairs import RepairStore
from ledger.mongodb.store import LedgerStore
from ledger.position import height_above


class TruncationOrder(Struct, frozen=True):
    """What the operator wants: `last` becomes the highest block; `confirmed` is a channel."""

    last: int
    apply: bool
    confirmed: str | None


class TruncationReport(Struct, frozen=True, rename="camel"):
    """The outcome of a truncation: the number of removed documents; 0 if it was only shown."""

    channel: str
    truncation: Truncation
    applied: bool = False
    removed: int = 0
    settled_height_lowered: bool = False


async def truncate_channel(
    settings: Settings,
    channel: str,
    store: LedgerStore,
    repairs: RepairStore,
    order: TruncationOrder,
    *,
    may_change: bool,
) -> tuple[Exit, TruncationReport]:
    """Cut off the blocks above the last one, or only show which; return the exit code too."""
    plan = await plan_truncation(repairs, order.last)
    lost = f"{channel}: the blocks {plan.last + 1} to {plan.highest} of {channel}"
    if not order.apply:
        messages.print(f"{lost} would be removed; --apply removes them", highlight=False)
        return Exit.DATA, TruncationReport(channel, plan)
    if not may_change:
        raise ConfigurationError(
            "mongo.repair_uri: this user may not remove documents, so nothing was changed; name "
            "one with the role kindledgerRepair (config/mongo-roles.js)"
        )
    _confirm(channel, lost, order.confirmed)
    async with raw_block_archive(settings, store.database, channel) as archive:
        # Before documents: nothing is changed then if PostgreSQL is unavailable, and to settle rows
        # again does no harm.
        height = height_above(plan.last)
        lowered = await lower_settled_height(settings, channel, height, plan.last_hash)
        with phase_progress(channel) as (start, advance):
            start("truncating", plan.highest - plan.last)
            removed = await truncate(repairs, plan, lambda number: advance(plan.highest - number))
        if archive is not None:
            await remove_raw_blocks(repairs, archive, plan.last + 1)
    messages.print(f"{lost} were removed: {removed:,} documents", highlight=False, soft_wrap=True)
    if lowered:
        messages.print(
            f"{channel}: rows are settled again from block {plan.last + 1} on. Rows that were "
            "settled by removed blocks stay as they are; `kindledger reconcile once --full` "
            "records them as discrepancies",
            highlight=False,
            soft_wrap=True,
        )
    return Exit.OK, TruncationReport(
        channel, plan, applied=True, removed=removed, settled_height_lowered=lowered
    )


def _confirm(channel: str, lost: str, confirmed: str | None) -> None:
    """Ask for the channel's name, unless it was given. Raises `UsageError` for another name."""
    if confirmed is None and sys.stdin.isatty():
        confirmed = click.prompt(f"{lost} will be removed. Type the channel's name", err=True)
    if confirmed != channel:
        raise click.UsageError(f"nothing was changed: confirm the truncation with --yes {channel}")
