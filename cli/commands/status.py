"""`kindledger status`: where each channel stands."""

from typing import Any

import click
import msgspec

from cli.assembly.mongo import mongo_client, stored_channels
from cli.configuration.settings import Settings
from cli.output.console import print_json, print_table
from ledger.mongodb.block_range import stored_height
from ledger.mongodb.sync_state import LastError, Reconciliation, SyncState, read_sync_state


async def show_status(settings: Settings, *, as_json: bool) -> None:
    """Prints the stored height of each channel, and what its daemon last said."""
    async with mongo_client(settings) as client:
        rows = [
            (
                channel,
                database,
                await stored_height(client[database]),
                await read_sync_state(client[database]),
            )
            for channel, database in (await stored_channels(client, settings)).items()
        ]
    if as_json:
        print_json({"channels": [_as_json(*row) for row in rows]})
        return
    columns = (
        "channel",
        "state",
        "stored height",
        "seen",
        "peer height",
        "tx/s",
        "updated",
        "last error",
    )
    print_table(columns, (_as_row(channel, height, state) for channel, _, height, state in rows))
    reconciled = [
        (channel, state.reconciliation)
        for channel, _, _, state in rows
        if state is not None and state.reconciliation is not None
    ]
    if reconciled:
        click.echo()
        print_table(
            (
                "channel",
                "reconciliation",
                "height",
                "rows settled",
                "open discrepancies",
                "last error",
            ),
            (_reconciliation_row(channel, state) for channel, state in reconciled),
        )


def _as_json(channel: str, database: str, height: int, state: SyncState | None) -> dict[str, Any]:
    return {
        "channel": channel,
        "database": database,
        "storedHeight": height,
        "sync": msgspec.to_builtins(state),
    }


def _as_row(channel: str, height: int, state: SyncState | None) -> tuple[object, ...]:
    if state is None:
        return channel, "never indexed", height, None, None, None, None, None
    return (
        channel,
        state.state,
        height,
        state.seen_height,
        state.peer_height,
        state.transactions_per_second,
        state.updated_at,
        _last_error(state.error),
    )


def _reconciliation_row(channel: str, state: Reconciliation) -> tuple[object, ...]:
    return (
        channel,
        state.state,
        state.height,
        state.settled,
        state.discrepancies,
        _last_error(state.error),
    )


def _last_error(error: LastError | None) -> str | None:
    """It may be over: the state says whether it holds anything up."""
    return (
        f"{error.at.isoformat(timespec='seconds')} {error.message}" if error is not None else None
    )
