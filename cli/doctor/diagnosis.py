"""All checks at once, and what is printed of them."""

import asyncio
from collections.abc import Callable, Sequence

import click

from cli.configuration.settings import Settings
from cli.doctor.checks import Check, Outcome, exit_code
from cli.doctor.identity import check_client_tls, check_identity
from cli.doctor.mongodb import check_mongodb
from cli.doctor.peers import check_peers
from cli.doctor.postgresql import check_postgresql
from cli.doctor.redis import check_redis
from cli.errors import ConfigurationError, Exit
from cli.output.console import messages, print_json

_LIMIT_S = 5.0
_COLOURS = {Outcome.OK: "green", Outcome.FAILED: "red", Outcome.SKIPPED: "yellow"}


def doctor(load: Callable[[], Settings], *, as_json: bool) -> Exit:
    """Checks everything that the configuration names and prints a line for each check."""
    try:
        settings = load()
    except ConfigurationError as error:
        advice = "Correct the file or the variable; config/kindledger.example.toml shows every key."
        checks = [Check("configuration", Outcome.FAILED, str(error), advice, Exit.CONFIGURATION)]
    else:
        checks = asyncio.run(diagnose(settings, _LIMIT_S))
    if as_json:
        print_json({"checks": checks})
    else:
        _print(checks)
    failed = sum(check.outcome is Outcome.FAILED for check in checks)
    messages.print(f"{len(checks)} checks, {failed} failed", highlight=False)
    return exit_code(checks)


async def diagnose(settings: Settings, limit_s: float) -> list[Check]:
    """Every check, those of different servers side by side; no single answer is awaited longer than `limit_s`."""
    identity, client_tls = (
        await check_identity(settings.fabric),
        await check_client_tls(settings.fabric),
    )
    servers = await asyncio.gather(
        check_peers(settings.fabric, settings.channels, identity, client_tls, limit_s),
        check_mongodb(settings, limit_s),
        check_postgresql(settings, limit_s),
        check_redis(settings.redis, limit_s),
    )
    return [
        _check_channels(settings),
        *identity,
        *client_tls,
        *(check for checks in servers for check in checks),
    ]


def _check_channels(settings: Settings) -> Check:
    if settings == Settings():
        advice = "Name the configuration with --config or KINDLEDGER_CONFIG, or set variables such as KINDLEDGER_MONGO__URI."
        return Check(
            "configuration", Outcome.FAILED, "nothing is configured", advice, Exit.CONFIGURATION
        )
    try:
        databases = {channel: settings.database_of(channel) for channel in settings.channels}
    except ConfigurationError as error:
        advice = "Name another database for that channel."
        return Check("configuration", Outcome.FAILED, str(error), advice, Exit.CONFIGURATION)
    listed = ", ".join(
        f"{channel} in database {database}" for channel, database in databases.items()
    )
    return Check(
        "configuration",
        Outcome.OK,
        listed or "no channel is configured, so `run` has nothing to do",
    )


def _print(checks: Sequence[Check]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        outcome = click.style(f"{check.outcome:<8}", fg=_COLOURS[check.outcome])
        detail = " ".join(check.detail.split())
        text = f"{detail.rstrip('.')}. {check.advice}" if check.advice else detail
        click.echo(f"{outcome}{check.name:<{width}}  {text}")
