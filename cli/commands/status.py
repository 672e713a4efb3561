"""`kindledger status`: the state of each channel."""

import asyncio
from typing import Any

import click
import msgspec
from msgspec import Struct
from pymongo.asynchronous.database import AsyncDatabase

from cli.assembly.mongo import mongo_client, stored_channels
from cli.commands.options import LoadSettings, json_option
from cli.configuration.settings import Settings
from cli.errors import exit_on_failure
from cli.output.console import print_json, print_table
from ledger.mongodb.block_range import stored_height
from ledger.mongodb.leftovers import UncommittedDocuments, uncommitted_documents
from ledger.mongodb.sync_state import (
    LastError,
    PeerComparisonReport,
    Reconciliation,
    SyncState,
    describe_build,
    read_sync_state,
)
from ledger.position import Height

_CHANNEL_COLUMNS = (
    "channel",
    "state",
    "height",
    "agreed height",
    "verified height",
    "contradictions",
    "uncommitted",
    "seen height",
    "peer height",
    "tx/s",
    "encoder",
    "updated",
    "last error",
)
_PEER_COLUMNS = (
    "channel",
    "peer",
    "organisation",
    "comparison",
    "peer height",
    "agrees below",
    "last contact",
    "last error",
)
_RECONCILIATION_COLUMNS = (
    "channel",
    "reconciliation",
    "settled height",
    "rows settled",
    "open discrepancies",
    "last error",
)


class _Channel(Struct, frozen=True):
    """What is stored of a channel, and what its daemon reported last."""

    channel: str
    database: str
    height: Height
    uncommitted: UncommittedDocuments
    state: SyncState | None


@click.command("status", short_help="Show the height, state and last error of each channel.")
@json_option
@click.pass_obj
def status_command(load: LoadSettings, /, *, as_json: bool) -> None:
    """Show the height, state and last error of each channel.

    The height is that of the stored ledger. Everything else is what the channel's daemon reported
    last.
    """
    with exit_on_failure():
        asyncio.run(show_status(load(), as_json=as_json))


async def show_status(settings: Settings, *, as_json: bool) -> None:
    """Print the height of each channel, and what its daemon reported last."""
    async with mongo_client(settings) as client:
        channels = [
            await _read(client[database], channel)
            for channel, database in (await stored_channels(client, settings)).items()
        ]
    if as_json:
        print_json({"channels": [_json_of(channel) for channel in channels]})
        return
    print_table(_CHANNEL_COLUMNS, map(_row_of, channels))
    peers = [
        _peer_row(each.channel, peer)
        for each in channels
        if each.state is not None
        for peer in each.state.peers or ()
    ]
    if peers:
        click.echo()
        print_table(_PEER_COLUMNS, peers)
    reconciled = [
        _reconciliation_row(each.channel, each.state.reconciliation)
        for each in channels
        if each.state is not None and each.state.reconciliation is not None
    ]
    if reconciled:
        click.echo()
        print_table(_RECONCILIATION_COLUMNS, reconciled)


async def _read(database: AsyncDatabase[dict[str, Any]], channel: str) -> _Channel:
    height = await stored_height(database)
    return _Channel(
        channel,
        database.name,
        height,
        await uncommitted_documents(database, height),
        await read_sync_state(database),
    )


def _json_of(each: _Channel) -> dict[str, Any]:
    return {
        "channel": each.channel,
        "database": each.database,
        "committedHeight": each.height,
        "agreedHeight": each.state.agreed_below(each.height)
        if each.state is not None
        else each.height,
        "verifiedHeight": each.state.verified_height if each.state is not None else None,
        "uncommitted": msgspec.to_builtins(each.uncommitted),
        "sync": msgspec.to_builtins(each.state),
    }


def _row_of(each: _Channel) -> tuple[object, ...]:
    uncommitted = str(each.uncommitted) if each.uncommitted else None
    state = each.state
    if state is None:
        unknown = (None,) * (len(_CHANNEL_COLUMNS) - 7)
        return each.channel, "never indexed", each.height, *[None] * 3, uncommitted, *unknown
    return (
        each.channel,
        state.state if state.index_build is None else describe_build(state.index_build),
        each.height,
        state.agreed_below(each.height),
        state.verified_height,
        _describe_contradictions(state),
        uncommitted,
        state.seen_height,
        state.peer_height,
        state.transactions_per_second,
        state.encoder,
        state.updated_at,
        _describe_error(state.error or state.verification_error),
    )


def _peer_row(channel: str, peer: PeerComparisonReport) -> tuple[object, ...]:
    return (
        channel,
        peer.name,
        peer.organisation,
        peer.state,
        peer.height,
        peer.agreed_height,
        peer.contact_at,
        _describe_error(peer.error),
    )


def _reconciliation_row(channel: str, state: Reconciliation) -> tuple[object, ...]:
    return (
        channel,
        state.state,
        state.height,
        state.settled,
        state.discrepancies,
        _describe_error(state.error),
    )


def _describe_contradictions(state: SyncState) -> str | None:
    """Return how many validation codes contradict the signatures, and the first block with one."""
    found = state.envelopes
    if found is None:
        return None
    first = f", first in block {found.first_contradiction}" if found.contradictions else ""
    return f"{found.contradictions}{first}"


def _describe_error(error: LastError | None) -> str | None:
    """Return the time and the text of the last error, which may have been resolved since."""
    return (
        f"{error.at.isoformat(timespec='seconds')} {error.message}" if error is not None else None
    )
