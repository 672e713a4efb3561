"""Runs all checks of the doctor."""

import asyncio
import os

from cli.configuration.settings import Settings
from cli.doctor.archive import check_archive
from cli.doctor.checks import Check, Outcome
from cli.doctor.identity import check_client_tls, check_identity
from cli.doctor.mongodb import check_mongodb
from cli.doctor.peers import check_peers
from cli.doctor.postgresql import check_postgresql
from cli.doctor.redis import check_redis
from cli.doctor.trust import check_trust
from cli.errors import ConfigurationError, Exit
from indexer.pipeline.encoders import PURE_VARIABLE, new_encoder
from ledger.block_encoder import EncoderName


async def diagnose(settings: Settings, limit_s: float) -> list[Check]:
    """Return all checks. Different servers are checked concurrently, each call within `limit_s`."""
    identity = await check_identity(settings.fabric)
    client_tls = await check_client_tls(settings.fabric)
    servers = await asyncio.gather(
        check_peers(settings.fabric, settings.channels, identity, client_tls, limit_s),
        check_mongodb(settings, limit_s),
        check_postgresql(settings, limit_s),
        check_redis(settings.redis, limit_s),
    )
    return [
        _check_encoder(),
        *await check_archive(settings),
        _check_channels(settings),
        *check_trust(settings),
        *identity,
        *client_tls,
        *(check for checks in servers for check in checks),
    ]


def _check_encoder() -> Check:
    if new_encoder().name is EncoderName.COMPILED:
        return Check("encoder", Outcome.OK, "compiled")
    if os.environ.get(PURE_VARIABLE) is not None:
        return Check("encoder", Outcome.OK, f"Python, as {PURE_VARIABLE} demands")
    advice = (
        "To index several times faster, install a C compiler and the Python headers (gcc, "
        "python3-dev), then install the program again."
    )
    return Check("encoder", Outcome.WARNING, "Python: the extension is not installed", advice)


def _check_channels(settings: Settings) -> Check:
    if settings == Settings():
        advice = (
            "Name the configuration with --config or KINDLEDGER_CONFIG, or set variables, for "
            "example KINDLEDGER_MONGO__URI."
        )
        return Check(
            "configuration", Outcome.FAILED, "nothing is configured", advice, Exit.CONFIGURATION
        )
    try:
        databases = {channel: settings.database_of(channel) for channel in settings.channels}
    except ConfigurationError as error:
        advice = "Configure another database for this channel."
        return Check("configuration", Outcome.FAILED, str(error), advice, Exit.CONFIGURATION)
    channels = ", ".join(
        f"{channel} in database {database}" for channel, database in databases.items()
    )
    return Check(
        "configuration",
        Outcome.OK,
        channels or "no channel is configured, so `run` has nothing to do",
    )
