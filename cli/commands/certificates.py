"""`kindledger certificates`: the certificates that signed on each channel."""

import asyncio
import re
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click
import msgspec
from msgspec import Struct
from pymongo import AsyncMongoClient

from cli.assembly.mongo import mongo_client, stored_channels
from cli.commands.options import LoadSettings, json_option
from cli.configuration.settings import Settings
from cli.errors import ConfigurationError, exit_on_failure
from cli.output.console import messages, print_json, print_table
from cli.output.csv_lines import print_csv
from explorer_api.schemas.certificates import Certificate, certificate, certificate_detail
from ledger.documents.format import Document
from ledger.mongodb.certificate_queries import CertificateFilter
from ledger.mongodb.paging import Window
from ledger.mongodb.reader import LedgerReader
from ledger.trust.acceptance import Acceptance

_PAGE: Final = 500
_FINGERPRINT: Final = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_COLUMNS: Final = (
    *("channel", "organisation", "node role", "subject", "signed as", "first block", "last block"),
    *("expires", "accepted", "fingerprint"),
)
_TRUTH: Final = {True: "true", False: "false", None: None}


class ChannelCertificates(Struct, frozen=True, rename="camel"):
    """The certificates of a channel: every signer of the blocks below `inventory_height`.

    The height is None if the signatures of no block were verified.
    """

    channel: str
    inventory_height: int | None
    certificates: list[Certificate]


@click.command("certificates", short_help="List the certificates that signed on each channel.")
@click.option("--channel", help="List those of this channel only.")
@click.option("--msp-id", metavar="MSPID", help="List those of this organisation only.")
@click.option("--refused", is_flag=True, help="List those that the configuration refuses only.")
@click.option(
    "--expiring-in",
    type=click.IntRange(0, 1_000_000),
    metavar="DAYS",
    help="List those only that have expired or will have expired in so many days.",
)
@click.option("--pem", metavar="FINGERPRINT", help="Print this certificate as PEM text instead.")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV on stdout.")
@click.pass_obj
def certificates_command(
    load: LoadSettings,
    /,
    *,
    channel: str | None,
    msp_id: str | None,
    refused: bool,
    expiring_in: int | None,
    pem: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """List the certificates that signed on each channel, the first to expire first.

    The daemon finds them when it verifies the signatures of blocks. Each has its validity, the
    blocks of its first and last use, in which roles it signed, and whether the configuration of the
    channel still accepts it. Exits 78 if the certificate to print is unknown.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    expires_before = None
    if expiring_in is not None:
        expires_before = datetime.now(UTC) + timedelta(days=expiring_in)
    conditions = CertificateFilter(
        msp_id, None, Acceptance.REFUSED if refused else None, expires_before
    )
    with exit_on_failure():
        if pem is not None:
            asyncio.run(show_pem(load(), channel, pem))
            return
        found = asyncio.run(read_certificates(load(), channel, conditions))
        if as_json:
            print_json({"channels": found})
        elif as_csv:
            show_csv(found)
        else:
            show_table(found)


async def read_certificates(
    settings: Settings, channel: str | None, conditions: CertificateFilter
) -> list[ChannelCertificates]:
    """Return the certificates of one channel or of all channels that meet the conditions."""
    async with mongo_client(settings) as client:
        return [
            await _read(client, name, database, conditions)
            for name, database in (await _databases(client, settings, channel)).items()
        ]


async def show_pem(settings: Settings, channel: str | None, fingerprint: str) -> None:
    """Print a certificate as PEM text. Raises `ConfigurationError` if no channel has it."""
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise ConfigurationError(
            f"{fingerprint!r} is no fingerprint: give the 64 hexadecimal digits of the SHA-256"
        )
    async with mongo_client(settings) as client:
        databases = await _databases(client, settings, channel)
        for database in databases.values():
            document = await LedgerReader(client, database).certificate(fingerprint.lower())
            if document is not None:
                click.echo(certificate_detail(document).pem, nl=False)
                return
    raise ConfigurationError(
        f"no certificate {fingerprint.lower()} signed in the verified blocks of "
        f"{', '.join(databases) or 'any channel'}"
    )


def show_table(found: list[ChannelCertificates]) -> None:
    """Print a table, and on stderr what it does not have."""
    for each in found:
        if each.inventory_height is None:
            messages.print(
                f"{each.channel}: no signatures are verified, so no certificates are known; "
                "`kindledger run` verifies them if verification.envelopes is set",
                highlight=False,
            )
    rows = [_row(each.channel, item) for each in found for item in each.certificates]
    print_table(_COLUMNS, rows)


def show_csv(found: list[ChannelCertificates]) -> None:
    """Print one line for each certificate, with the names of the API's fields."""
    names = [field.encode_name for field in msgspec.structs.fields(Certificate)]
    print_csv(["channel", *names])
    for each in found:
        for item in each.certificates:
            values = msgspec.to_builtins(item)
            values["roles"] = " ".join(values["roles"])
            values["accepted"] = _TRUTH[item.accepted]
            for name in ("firstTransaction", "lastTransaction"):
                at = values[name]
                values[name] = f"{at['block']}/{at['index']}" if at is not None else None
            print_csv([each.channel, *(values[name] for name in names)])


def _row(channel: str, item: Certificate) -> tuple[object, ...]:
    accepted = {True: "yes", False: f"no: {item.refusal}", None: f"unknown: {item.refusal}"}
    return (
        channel,
        item.msp_id,
        item.node_role,
        item.subject,
        ", ".join(item.roles),
        item.first_block,
        item.last_block,
        item.not_after.date().isoformat(),
        accepted[item.accepted],
        item.fingerprint,
    )


async def _databases(
    client: AsyncMongoClient[dict[str, Any]], settings: Settings, channel: str | None
) -> dict[str, str]:
    channels = await stored_channels(client, settings)
    if channel is None:
        return channels
    return {channel: channels.get(channel) or settings.database_of(channel)}


async def _read(
    client: AsyncMongoClient[dict[str, Any]],
    channel: str,
    database: str,
    conditions: CertificateFilter,
) -> ChannelCertificates:
    reader = LedgerReader(client, database)
    inventory = await reader.certificate_inventory()
    found = [certificate(each) async for each in _documents(reader, conditions)]
    return ChannelCertificates(channel, inventory.height if inventory is not None else None, found)


async def _documents(
    reader: LedgerReader, conditions: CertificateFilter
) -> AsyncGenerator[Document, None]:
    """Yield the certificates that meet the conditions, the first to expire first."""
    last: Document | None = None
    more = True
    while more:
        page = await reader.certificates(conditions, Window(_PAGE, descending=False), last)
        for document in page.documents:
            yield document
        more, last = page.more and bool(page.documents), next(reversed(page.documents), None)
