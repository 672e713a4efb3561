"""`kindledger reconcile`: where reconciliation stands, what does not agree, and one round of it by hand."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from cli.assembly.daemon import new_progress
from cli.assembly.mongo import mongo_client
from cli.assembly.postgres import postgres_failures
from cli.assembly.reconciliation import (
    mapping_of,
    measured,
    reconciled_channel,
    reconciliation,
    servers_of,
)
from cli.configuration.settings import Settings
from cli.errors import ConfigurationError, Exit
from cli.output.console import block_progress, messages, print_json, print_table
from cli.output.discrepancies import print_discrepancies
from indexer.channel_progress import ChannelProgress
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState, DatabaseServer, read_sync_state
from reconciliation.discrepancies import listed
from reconciliation.migrations.migrator import check_schema
from reconciliation.migrations.scripts import load_migrations
from reconciliation.reconciliation_progress import ReconciliationProgress
from reconciliation.reports import DiscrepancyCount as Count
from reconciliation.reports import DiscrepancyKind as Kind
from reconciliation.reports import SettlementStatus
from reconciliation.settlement_status import read_settlement_status

_FRESH_S = 30.0
"""A daemon that runs tells its progress more often than this."""
_REDRAW_S = 0.25


async def show_standing(settings: Settings, *, as_json: bool) -> None:
    """Prints how far rows are settled, what waits, what does not agree, and the servers."""
    channel = _channel(settings)
    async with mongo_client(settings) as client:
        ledger = await _stored_ledger(LedgerStore(client, settings.database_of(channel)), channel)
    with postgres_failures():
        async with servers_of(settings.postgres) as servers:
            async with servers.primary.acquire() as connection:
                await check_schema(connection, load_migrations())
                business = mapping_of(settings.reconcile)
                found = await read_settlement_status(
                    connection, channel, business, settings.reconcile.grace_s
                )
            figures = await measured(servers)
    if as_json:
        heights = {"channel": channel, "storedHeight": ledger.committed_height}
        print_json(
            heights
            | msgspec.to_builtins(found)
            | {"servers": [_server(figure) for figure in figures]}
        )
    else:
        _print_standing(channel, ledger, found, figures)


def _print_standing(
    channel: str, ledger: ChannelProgress, found: SettlementStatus, figures: list[DatabaseServer]
) -> None:
    print_table(
        (
            "channel",
            "stored height",
            "settled",
            "looked for rows",
            "ids no row can have",
            "updated",
        ),
        [
            (
                channel,
                ledger.committed_height,
                found.height,
                found.audited_height,
                found.unusable_ids,
                found.moved_at,
            )
        ],
    )
    click.echo()
    print_table(
        ("table", "waiting", "overdue", "oldest", "without hash"),
        (
            (table.table, table.rows, table.overdue, table.oldest, table.without_hash)
            for table in found.waiting
        ),
    )
    click.echo()
    print_table(
        ("server", "reachable", "seconds behind"),
        ((server.name, "yes" if server.connections else "no", server.lag_s) for server in figures),
    )
    _print_open(found.discrepancies)


def _print_open(counts: Sequence[Count]) -> None:
    if counts:
        click.echo()
        print_table(
            ("discrepancies", "open", "oldest"),
            ((count.kind, count.count, count.oldest) for count in counts),
        )


def _server(figures: DatabaseServer) -> dict[str, Any]:
    return {"name": figures.name, "reachable": figures.connections > 0, "lagSeconds": figures.lag_s}


async def list_discrepancies(
    settings: Settings, kind: Kind | None, *, closed: bool, limit: int, as_json: bool
) -> None:
    """Prints discrepancies, the newest first; with `closed` also those that are over."""
    channel = _channel(settings)
    with postgres_failures():
        async with servers_of(settings.postgres) as servers:
            await measured(servers)
            async with servers.reading() as connection:
                await check_schema(connection, load_migrations())
                found = await listed(connection, channel, kind, closed=closed, limit=limit)
    if as_json:
        print_json({"channel": channel, "discrepancies": found})
    else:
        print_discrepancies(found)
    if len(found) == limit:
        messages.print(f"the newest {limit:,}; --limit shows more", highlight=False)
    elif not found:
        messages.print("nothing to show", highlight=False)


async def reconcile_once(settings: Settings, *, everything: bool, as_json: bool) -> Exit:
    """Settles and compares what is there now, and prints what it did. DATA if discrepancies are open at the end."""
    channel = _channel(settings)
    async with mongo_client(settings) as client:
        store = LedgerStore(client, settings.database_of(channel))
        ledger = await _stored_ledger(store, channel)
        if ledger.committed_height == 0:
            raise ConfigurationError(
                f"{channel}: no block is stored yet; `kindledger run` or `import` stores them"
            )
        if not ledger.caught_up:
            messages.print(
                "no daemon says that the stored ledger has all blocks of its peer: rows that it does not know are not "
                "called wrong",
                highlight=False,
                soft_wrap=True,
            )
        with postgres_failures():
            async with reconciliation(settings, store, ledger) as part:
                progress = part.reconciler.progress
                showing = asyncio.create_task(_show(progress, ledger))
                try:
                    still_open = await part.once(everything=everything)
                finally:
                    showing.cancel()
    if as_json:
        done = {"settled": progress.settled, "opened": progress.opened, "closed": progress.closed}
        print_json({"channel": channel, "height": progress.height, **done, "open": still_open})
    else:
        print_table(
            ("channel", "height", "rows settled", "discrepancies opened", "closed"),
            [(channel, progress.height, progress.settled, progress.opened, progress.closed)],
        )
        _print_open(still_open)
    if still_open:
        messages.print("`kindledger reconcile list` explains what does not agree", highlight=False)
    return Exit.DATA if still_open else Exit.OK


async def _show(progress: ReconciliationProgress, ledger: ChannelProgress) -> None:
    with block_progress() as bar:
        task = bar.add_task(f"settling {progress.channel}", total=ledger.committed_height, rate="")
        while True:
            bar.update(task, completed=progress.height, rate=f"{progress.settled:,} rows")
            await asyncio.sleep(_REDRAW_S)


def _channel(settings: Settings) -> str:
    """The channel that is reconciled. Raises `ConfigurationError` if there is none."""
    channel = reconciled_channel(settings)
    if channel is None:
        raise ConfigurationError(
            "postgres.dsn (KINDLEDGER_POSTGRES__DSN): not set, so reconciliation is off; give the address of the "
            "business database, such as postgresql://user:password@host:5432/database"
        )
    return channel


async def _stored_ledger(store: LedgerStore, channel: str) -> ChannelProgress:
    """The ledger as it is stored now; caught up with its peer only where a daemon says so, and said it just now."""
    progress = new_progress(channel)
    checkpoint = await store.checkpoint()
    if checkpoint is not None:
        progress.resume(checkpoint.start, checkpoint.head.number + 1)
    told = await read_sync_state(store.database)
    if told is not None and told.peer_height is not None and told.state is ChannelState.FOLLOWING:
        age = datetime.now(UTC) - told.updated_at
        if age.total_seconds() < _FRESH_S:
            progress.record_peer_height(told.peer_height)
            progress.set_state(ChannelState.FOLLOWING)
    return progress
