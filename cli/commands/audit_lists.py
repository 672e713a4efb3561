"""`kindledger audit transactions` and `kindledger audit key`: the lists for auditors."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import click
import msgspec
from msgspec import Struct
from msgspec.structs import astuple, fields

from cli.assembly.indexes import index_failures
from cli.assembly.mongo import mongo_client, one_channel
from cli.assembly.stored_ledger import is_in_step
from cli.audit.blocks import audit_range, format_time
from cli.audit.lists import (
    KeyChange,
    ListedTransaction,
    ListFilter,
    key_changes,
    listed_transactions,
)
from cli.audit.report import counted
from cli.audit.when import When
from cli.commands.audit_options import (
    channel_option,
    check_form,
    check_order,
    csv_option,
    from_option,
    to_option,
)
from cli.commands.options import LoadSettings, json_option
from cli.configuration.settings import Settings
from cli.errors import ConfigurationError, exit_on_failure
from cli.output.console import messages
from cli.output.csv_lines import print_csv
from explorer_api.schemas.stored_values import Omitted
from ledger.mongodb.block_range import BlockRange, stored_range
from ledger.mongodb.reader import LedgerReader
from ledger.mongodb.store import LedgerStore


@click.command("transactions", short_help="List the transactions of a range, as CSV.")
@from_option
@to_option
@channel_option
@click.option("--msp-id", help="Only transactions that a member of this organisation created.")
@click.option("--chaincode", help="Only transactions of this chaincode.")
@json_option
@csv_option
@click.pass_obj
def transactions_command(
    load: LoadSettings,
    /,
    *,
    begin: When | None,
    end: When | None,
    channel: str | None,
    msp_id: str | None,
    chaincode: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """List the transactions of a range in the order of the chain, as CSV or as a JSON array.

    In a range of times, these are the transactions whose own client's time is in it. Cells that a
    spreadsheet would take for a formula begin with an apostrophe.
    """
    if begin is None or end is None:
        raise click.UsageError("give the range: --from WHEN and --to WHEN")
    check_order(begin, end)
    check_form(as_json=as_json, as_csv=as_csv)
    with exit_on_failure():
        conditions = ListFilter(msp_id, chaincode)
        asyncio.run(list_transactions(load(), channel, (begin, end), conditions, as_json=as_json))


@click.command("key", short_help="List who changed a key, and when, as CSV.")
@click.argument("namespace")
@click.argument("key")
@click.option(
    "--encoded",
    is_flag=True,
    help="NAMESPACE and KEY are percent-encoded, for keys that a shell cannot pass: %00 for NUL.",
)
@channel_option
@json_option
@csv_option
@click.pass_obj
def key_command(
    load: LoadSettings,
    /,
    *,
    namespace: str,
    key: str,
    encoded: bool,
    channel: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """List every committed change of a key, the oldest first, as CSV or as a JSON array.

    The namespace is the name of a chaincode. Private keys have no history. Composite keys contain
    NUL, and need --encoded.
    """
    check_form(as_json=as_json, as_csv=as_csv)
    with exit_on_failure():
        if encoded:
            namespace, key = _decoded(namespace), _decoded(key)
        asyncio.run(list_key_changes(load(), channel, namespace, key, as_json=as_json))


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise click.UsageError(f"{text}: is not UTF-8, percent-encoded") from None


@dataclass(frozen=True)
class _Ledger:
    """The stored ledger of one channel, and whether it is in step with its peer."""

    channel: str
    store: LedgerStore
    reader: LedgerReader
    stored: BlockRange
    in_step: bool


@asynccontextmanager
async def _opened(settings: Settings, channel: str | None) -> AsyncIterator[_Ledger]:
    """Yield the ledger of the channel. Raises `ConfigurationError` if nothing of it is stored."""
    async with mongo_client(settings) as client:
        channel, database = await one_channel(client, settings, channel)
        store = LedgerStore(client, database)
        await store.check_format()
        stored = await stored_range(store.database)
        if stored is None:
            raise ConfigurationError(f"{channel}: no block of it is stored in this MongoDB")
        reader = LedgerReader(client, database)
        in_step = is_in_step(await reader.sync_state(), stored.height)
        with index_failures():
            yield _Ledger(channel, store, reader, stored, in_step)


async def list_transactions(
    settings: Settings,
    channel: str | None,
    ends: tuple[When, When],
    conditions: ListFilter,
    *,
    as_json: bool,
) -> None:
    """Print the transactions of a range."""
    async with _opened(settings, channel) as ledger:
        audited = await audit_range(ledger.store.database, ledger.stored, *ends)
        transactions = listed_transactions(ledger.reader, audited, conditions)
        await _print_all(ListedTransaction, transactions, as_json=as_json)
        goes_on = audited.blocks is None or audited.blocks.highest < ledger.stored.highest
        for gap in audited.gaps(datetime.now(UTC), is_last=not (goes_on or ledger.in_step)):
            _say(f"transactions of the range may be missing: {gap}")


async def list_key_changes(
    settings: Settings, channel: str | None, namespace: str, key: str, *, as_json: bool
) -> None:
    """Print the changes of a key.

    Raises `ConfigurationError` if the written keys are not indexed.
    """
    async with _opened(settings, channel) as ledger:
        if not (await ledger.reader.optional_indexes()).key_history:
            raise ConfigurationError(
                f"{ledger.channel}: the written keys are not indexed; set indexer.key_history, and "
                "the next `kindledger run` builds the index"
            )
        changes = key_changes(ledger.reader, namespace, key, ledger.stored.highest)
        await _print_all(KeyChange, changes, as_json=as_json)
        if ledger.stored.lowest:
            _say(f"the ledger starts at block {ledger.stored.lowest}: earlier changes are missing")


async def _print_all(
    kind: type[Struct], items: AsyncGenerator[Struct, None], *, as_json: bool
) -> None:
    """Print the items as they come: as CSV, or as a JSON array with one item in each line."""
    if not as_json:
        print_csv([field.encode_name for field in fields(kind)])
    count = 0
    async with aclosing(items):
        async for item in items:
            if as_json:
                line = json.dumps(msgspec.to_builtins(item), ensure_ascii=False)
                sys.stdout.write(f"{',' if count else '['}\n{line}")
            else:
                print_csv([_cell(value) for value in astuple(item)])
            count += 1
    if as_json:
        sys.stdout.write("\n]\n" if count else "[]\n")
    _say(counted(count, "line") if count else "nothing was found")


def _cell(value: Any) -> object:
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, Omitted):
        return f"omitted: {value.size} bytes, SHA-256 {value.sha256}"
    return " ".join(str(_cell(each)) for each in value) if isinstance(value, list) else value


def _say(text: str) -> None:
    messages.print(text, markup=False, highlight=False, soft_wrap=True)
