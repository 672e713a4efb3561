"""`kindledger doctor`: checks the servers and files that the configuration names."""

import asyncio
from collections.abc import Sequence

import click

from cli.commands.options import LoadSettings, json_option
from cli.doctor.checks import Check, Outcome, exit_code
from cli.doctor.diagnosis import diagnose
from cli.errors import ConfigurationError, Exit, exit_on_failure
from cli.output.console import messages, print_json

_CALL_TIMEOUT_S = 5.0
_COLOURS = {
    Outcome.OK: "green",
    Outcome.WARNING: "yellow",
    Outcome.FAILED: "red",
    Outcome.SKIPPED: "bright_black",
}


@click.command("doctor", short_help="Check every configured peer and server.")
@json_option
@click.pass_obj
def doctor_command(load: LoadSettings, /, *, as_json: bool) -> None:
    """Check every configured peer and server: show what fails, and what to do.

    Writes nothing. Exits 78 if the configuration, an identity or a right is wrong, else 69 if a
    server is unavailable. Warnings do not change the exit code.
    """
    with exit_on_failure():
        raise SystemExit(doctor(load, as_json=as_json))


def doctor(load: LoadSettings, *, as_json: bool) -> Exit:
    """Check everything that the configuration names, print each check, and return the exit code."""
    try:
        settings = load()
    except ConfigurationError as error:
        advice = "Correct the file or the variable; config/kindledger.example.toml shows every key."
        checks = [Check("configuration", Outcome.FAILED, str(error), advice, Exit.CONFIGURATION)]
    else:
        checks = asyncio.run(diagnose(settings, _CALL_TIMEOUT_S))
    if as_json:
        print_json({"checks": checks})
    else:
        _print(checks)
    failed = _count(checks, Outcome.FAILED)
    warnings = _count(checks, Outcome.WARNING)
    messages.print(
        f"{len(checks)} checks, {failed} failed, {warnings} with a warning", highlight=False
    )
    return exit_code(checks)


def _count(checks: Sequence[Check], outcome: Outcome) -> int:
    return sum(check.outcome is outcome for check in checks)


def _print(checks: Sequence[Check]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        outcome = click.style(f"{check.outcome:<8}", fg=_COLOURS[check.outcome])
        detail = " ".join(check.detail.split())
        text = f"{detail.rstrip('.')}. {check.advice}" if check.advice else detail
        click.echo(f"{outcome}{check.name:<{width}}  {text}")
