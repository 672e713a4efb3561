"""`kindledger digest`: the digest of each stored ledger, which an auditor writes down."""

import asyncio

import click
from msgspec import Struct

from cli.assembly.mongo import mongo_client, stored_channels
from cli.commands.options import LoadSettings, json_option
from cli.configuration.settings import Settings
from cli.errors import ConfigurationError, exit_on_failure
from cli.output.console import print_json, print_table
from ledger.mongodb.store import LedgerStore


@click.command("digest", short_help="Print the digest of each stored ledger.")
@click.option("--channel", help="Print the digest of this channel only.")
@click.option("--at", type=click.IntRange(min=0), metavar="BLOCK", help="Up to this block.")
@json_option
@click.pass_obj
def digest_command(
    load: LoadSettings, /, *, channel: str | None, at: int | None, as_json: bool
) -> None:
    """Print the digest of each stored ledger: of all documents up to the highest block.

    Write it down, outside of the database. A later `kindledger verify` without a difference, and
    the same digest at the same block, prove that no document was changed since. Exits 78 if the
    block is not stored or has no digest.
    """
    with exit_on_failure():
        asyncio.run(show_digests(load(), channel, at, as_json=as_json))


class Digest(Struct, frozen=True, rename="camel"):
    """The digest of a channel's documents up to block `number`, in hex."""

    channel: str
    start_block: int
    number: int
    block_hash: str
    digest: str


async def show_digests(
    settings: Settings, channel: str | None, at: int | None, *, as_json: bool
) -> None:
    """Print the digest of one channel or of all channels.

    Raises `ConfigurationError` if a block is not stored or has no digest.
    """
    async with mongo_client(settings) as client:
        channels = await stored_channels(client, settings)
        if channel is not None:
            channels = {channel: channels.get(channel) or settings.database_of(channel)}
        if not channels:
            raise ConfigurationError("no channel is stored in this MongoDB, so there is no digest")
        digests = [
            await _read(LedgerStore(client, database), name, at)
            for name, database in channels.items()
        ]
    if as_json:
        print_json({"channels": digests})
        return
    print_table(
        ("channel", "block", "digest"),
        [(each.channel, each.number, each.digest) for each in digests],
    )


async def _read(store: LedgerStore, channel: str, at: int | None) -> Digest:
    checkpoint = await store.checkpoint()
    if checkpoint is None:
        raise ConfigurationError(f"{channel}: no block of it is stored in this MongoDB")
    start, head = checkpoint.start, checkpoint.head
    if at is not None and not start <= at <= head.number:
        raise ConfigurationError(
            f"{channel}: block {at} is not stored; the blocks {start} to {head.number} are"
        )
    block = head if at is None else await store.block(at)
    if block is None or not block.digest:
        raise ConfigurationError(
            f"{channel}: block {head.number if at is None else at} has no digest: an older program "
            "indexed it. Index into an empty database to have digests from the first block on"
        )
    return Digest(channel, start, block.number, block.hash.hex(), block.digest.hex())
