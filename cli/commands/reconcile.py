"""`kindledger reconcile`: the state of reconciliation, its discrepancies, and one run of it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from cli.assembly.mongo import mongo_client
from cli.assembly.postgres import postgres_failures
from cli.assembly.reconciliation import (
    configured_mapping,
    measure_servers,
    postgres_servers,
    reconciled_channel,
    reconciliation,
)
from cli.assembly.stored_ledger import agreed_ledger, stored_ledger
from cli.commands.options import LoadSettings, json_option
from cli.configuration.settings import Settings
from cli.errors import ConfigurationError, Exit, exit_on_failure
from cli.output.console import messages, print_json, print_table
from cli.output.discrepancies import print_discrepancies
from cli.output.progress_bars import block_progress
from indexer.progress.channel_progress import ChannelProgress
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import DatabaseServer, read_sync_state
from ledger.position import Height
from reconciliation.discrepancies import read_newest
from reconciliation.migrations.migrator import check_schema
from reconciliation.migrations.scripts import load_migrations
from reconciliation.reconciliation_progress import ReconciliationProgress
from reconciliation.reports import (
    DiscrepancyCount,
    DiscrepancyKind,
    RowsVerdict,
    SettlementStatus,
    rows_verdict,
)
from reconciliation.settlement_status import read_settlement_status

_REDRAW_S = 0.25


@click.group("reconcile", short_help="Compare the rows of the business database with the ledger.")
def reconcile_group() -> None:
    """Compare the rows of the business database with the ledger.

    The daemon does this continuously. A discrepancy closes by itself when row and ledger agree.
    """


@reconcile_group.command("status", short_help="Show the settled height, waiting rows and servers.")
@json_option
@click.pass_obj
def reconcile_status_command(load: LoadSettings, /, *, as_json: bool) -> None:
    """Show up to which height rows are settled, which rows wait, what differs, and the servers.

    The rows are `equal` to the ledger as far as it was audited, `different`, or `unknown` while the
    audit has not reached the blocks whose grace period is over.
    """
    with exit_on_failure():
        asyncio.run(show_settlement_status(load(), as_json=as_json))


@reconcile_group.command("list", short_help="List discrepancies: what differs, and what to do.")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in DiscrepancyKind]),
    help="Only discrepancies of this kind.",
)
@click.option("--all", "closed", is_flag=True, help="Also closed discrepancies.")
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="Maximum number shown."
)
@json_option
@click.pass_obj
def reconcile_list_command(
    load: LoadSettings, /, *, kind: str | None, closed: bool, limit: int, as_json: bool
) -> None:
    """List discrepancies, the newest first.

    Shows for each what the ledger says and what the row says, and for each kind what it means and
    what to do.
    """
    with exit_on_failure():
        chosen = DiscrepancyKind(kind) if kind is not None else None
        asyncio.run(list_discrepancies(load(), chosen, closed=closed, limit=limit, as_json=as_json))


@reconcile_group.command("once", short_help="Settle and compare the present rows, then end.")
@click.option("--full", is_flag=True, help="Also compare rows that are already settled.")
@json_option
@click.pass_obj
def reconcile_once_command(load: LoadSettings, /, *, full: bool, as_json: bool) -> None:
    """Settle and compare the present rows, then end. A daemon may run at the same time.

    Exits 65 if discrepancies are open at the end.
    """
    with exit_on_failure():
        raise SystemExit(asyncio.run(reconcile_once(load(), everything=full, as_json=as_json)))


async def show_settlement_status(settings: Settings, *, as_json: bool) -> None:
    """Print the settled height, the waiting rows, the open discrepancies and the servers."""
    channel = _reconciled_channel(settings)
    async with mongo_client(settings) as client:
        store = LedgerStore(client, settings.database_of(channel))
        ledger = await stored_ledger(store, channel)
        report = await read_sync_state(store.database)
    with postgres_failures():
        async with postgres_servers(settings.postgres) as servers:
            async with servers.primary.acquire() as connection:
                await check_schema(connection, load_migrations())
                business = configured_mapping(settings.reconcile)
                status = await read_settlement_status(
                    connection, channel, business, settings.reconcile.grace_s
                )
            states = await measure_servers(servers)
    reported = report.reconciliation if report is not None else None
    due = reported.due_height if reported is not None else None
    verdict = rows_verdict(
        sum(count.count for count in status.discrepancies),
        start=ledger.start_block,
        audited=status.audited_height,
        target=status.height if due is None else due,
    )
    if as_json:
        print_json(
            {
                "channel": channel,
                "verdict": verdict,
                "committedHeight": ledger.committed_height,
                **msgspec.to_builtins(status),
                "servers": [_json_of_server(state) for state in states],
            }
        )
    else:
        _print_settlement_status(channel, verdict, ledger.committed_height, status, states)


def _print_settlement_status(
    channel: str,
    verdict: RowsVerdict,
    height: Height,
    status: SettlementStatus,
    servers: Sequence[DatabaseServer],
) -> None:
    print_table(
        (
            *("channel", "rows", "height", "settled height", "audited height"),
            *("unusable ids", "updated"),
        ),
        [
            (
                channel,
                verdict,
                height,
                status.height,
                status.audited_height,
                status.unusable_ids,
                status.moved_at,
            )
        ],
    )
    click.echo()
    print_table(
        ("table", "waiting", "overdue", "oldest", "without hash"),
        (
            (table.table, table.rows, table.overdue, table.oldest, table.without_hash)
            for table in status.waiting
        ),
    )
    click.echo()
    print_table(
        ("server", "reachable", "seconds behind"),
        ((server.name, "yes" if server.connections else "no", server.lag_s) for server in servers),
    )
    _print_open_discrepancies(status.discrepancies)


def _print_open_discrepancies(counts: Sequence[DiscrepancyCount]) -> None:
    if counts:
        click.echo()
        print_table(
            ("discrepancies", "open", "oldest"),
            ((count.kind, count.count, count.oldest) for count in counts),
        )


def _json_of_server(server: DatabaseServer) -> dict[str, Any]:
    return {"name": server.name, "reachable": server.connections > 0, "lagSeconds": server.lag_s}


async def list_discrepancies(
    settings: Settings,
    kind: DiscrepancyKind | None,
    *,
    closed: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Print discrepancies, the newest first; with `closed` also the closed ones."""
    channel = _reconciled_channel(settings)
    with postgres_failures():
        async with postgres_servers(settings.postgres) as servers:
            await measure_servers(servers)
            async with servers.report_connection() as connection:
                await check_schema(connection, load_migrations())
                discrepancies = await read_newest(
                    connection, channel, kind, include_closed=closed, limit=limit
                )
    if as_json:
        print_json({"channel": channel, "discrepancies": discrepancies})
    else:
        print_discrepancies(discrepancies)
    if len(discrepancies) == limit:
        messages.print(f"the newest {limit:,}; --limit shows more", highlight=False)
    elif not discrepancies:
        messages.print("no discrepancy", highlight=False)


async def reconcile_once(settings: Settings, *, everything: bool, as_json: bool) -> Exit:
    """Settle and compare the present rows, print what was done, and return the exit code.

    The exit code is DATA if discrepancies are open at the end.
    """
    channel = _reconciled_channel(settings)
    async with mongo_client(settings) as client:
        store = LedgerStore(client, settings.database_of(channel))
        ledger = await stored_ledger(store, channel)
        if ledger.committed_height == 0:
            raise ConfigurationError(
                f"{channel}: no block is stored yet; `kindledger run` or `import` stores them"
            )
        ledger = await agreed_ledger(store, ledger, settings.trust.peers_required)
        if not ledger.caught_up:
            messages.print(
                "no daemon reports that the stored ledger has all blocks of its peer: rows whose "
                "transaction is not stored are not reported as discrepancies",
                highlight=False,
                soft_wrap=True,
            )
        with postgres_failures():
            async with reconciliation(settings, store, ledger) as part:
                progress = part.reconciler.progress
                bar = asyncio.create_task(_show_progress(progress, ledger))
                try:
                    open_discrepancies = await part.once(everything=everything)
                finally:
                    bar.cancel()
    _print_outcome(channel, progress, open_discrepancies, as_json=as_json)
    return Exit.DATA if open_discrepancies else Exit.OK


def _print_outcome(
    channel: str,
    progress: ReconciliationProgress,
    open_discrepancies: Sequence[DiscrepancyCount],
    *,
    as_json: bool,
) -> None:
    counts = {
        "settled": progress.settled_rows,
        "opened": progress.opened_discrepancies,
        "closed": progress.closed_discrepancies,
    }
    if as_json:
        print_json(
            {"channel": channel, "height": progress.height, **counts, "open": open_discrepancies}
        )
    else:
        print_table(
            ("channel", "settled height", "rows settled", "discrepancies opened", "closed"),
            [(channel, progress.height, *counts.values())],
        )
        _print_open_discrepancies(open_discrepancies)
    if open_discrepancies:
        messages.print("`kindledger reconcile list` explains the discrepancies", highlight=False)


async def _show_progress(progress: ReconciliationProgress, ledger: ChannelProgress) -> None:
    with block_progress() as bar:
        task = bar.add_task(f"settling {progress.channel}", total=ledger.committed_height, rate="")
        while True:
            bar.update(task, completed=progress.height, rate=f"{progress.settled_rows:,} rows")
            await asyncio.sleep(_REDRAW_S)


def _reconciled_channel(settings: Settings) -> str:
    """Return the channel that is reconciled. Raises `ConfigurationError` if there is none."""
    channel = reconciled_channel(settings)
    if channel is None:
        raise ConfigurationError(
            "postgres.dsn (KINDLEDGER_POSTGRES__DSN): not set, so reconciliation is off; give the "
            "address of the business database, for example "
            "postgresql://user:password@host:5432/database"
        )
    return channel
