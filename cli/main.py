"""The commands, their options and their help."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cli.assembly.api import run_api
from cli.assembly.daemon import run_daemon
from cli.commands.import_files import import_files
from cli.commands.migrate import migrate, show_migrations
from cli.commands.reconcile import list_discrepancies, reconcile_once, show_standing
from cli.commands.status import show_status
from cli.commands.verify import PEER, verify
from cli.configuration.loading import load_settings
from cli.configuration.redaction import redacted
from cli.configuration.settings import Settings
from cli.demo.live import default_folder, demo, demo_once
from cli.doctor.diagnosis import doctor
from cli.errors import exits
from cli.output.console import print_json
from cli.output.logs import configure_logs
from cli.version import VERSION
from reconciliation.migrations.migrator import Migrator
from reconciliation.reports import DiscrepancyKind as Kind

_PATH = click.Path(path_type=Path, exists=True)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file (TOML)."
)
@click.version_option(VERSION)
@click.pass_context
def main(context: click.Context, config: Path | None) -> None:
    """Indexes Hyperledger Fabric ledgers into MongoDB and serves them.

    Configured by a TOML file (--config or KINDLEDGER_CONFIG) and the environment (KINDLEDGER_MONGO__URI for mongo.uri).
    Exit codes: 0 ok, 1 unexpected, 2 usage, 65 chain mismatch, corrupt or contradicting data, 69 a needed
    server is unavailable, 75 gave up, restart me, 78 configuration, 130 and 143 signals.
    """
    context.obj = lambda: _settings(config)


def _settings(config: Path | None) -> Settings:
    settings = load_settings(config)
    configure_logs(settings.log)
    return settings


_Loader = Callable[[], Settings]


@main.command()
@click.option("--with-api", is_flag=True, help="Serve the explorer API in the same process.")
@click.pass_obj
def run(load: _Loader, /, *, with_api: bool) -> None:
    """The daemon: follow the configured channels until SIGTERM or SIGINT."""
    with exits(daemon=True):
        raise SystemExit(asyncio.run(run_daemon(load(), with_api=with_api)))


@main.command()
@click.pass_obj
def api(load: _Loader, /) -> None:
    """The explorer API alone."""
    with exits(daemon=True):
        raise SystemExit(asyncio.run(run_api(load())))


@main.command("import")
@click.argument("paths", nargs=-1, required=True, type=_PATH, metavar="PATH...")
@click.option(
    "--start",
    type=click.IntRange(0),
    help="First block of an empty store; the ledger begins there.",
)
@click.option("--database", help="Database to index into, instead of the channel's.")
@_json_option
@click.pass_obj
def import_command(
    load: _Loader,
    /,
    *,
    paths: tuple[Path, ...],
    start: int | None,
    database: str | None,
    as_json: bool,
) -> None:
    """Index block files: folders or tar archives of *.block, one serialized block each."""
    with exits():
        code = asyncio.run(
            import_files(load(), paths, start=start, database=database, as_json=as_json)
        )
        raise SystemExit(code)


@main.command("demo")
@click.option("--once", is_flag=True, help="Index the recorded ledger, print a summary and exit.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the network and the database.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), help="The API's port.  [default: 8080, or a free one]"
)
@click.option(
    "--interval-ms",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Time between new blocks.",
)
@_json_option
def demo_command(
    *, once: bool, data: Path | None, port: int | None, interval_ms: int, as_json: bool
) -> None:
    """Embedded servers, a forged Fabric network with live traffic and applications, the indexer and the API."""
    with exits():
        if once:
            raise SystemExit(demo_once(as_json=as_json))
        raise SystemExit(demo(data or default_folder(), port, interval_ms))


@main.command()
@_json_option
@click.pass_obj
def status(load: _Loader, /, *, as_json: bool) -> None:
    """Where each channel stands: stored, seen and peer height, state and last error."""
    with exits():
        asyncio.run(show_status(load(), as_json=as_json))


@main.command("verify")
@click.option("--channel", help="Only this channel.")
@click.option(
    "--source",
    metavar=f"PATH|{PEER}",
    help="Compare with block files, or with the configured peer, as well.",
)
@_json_option
@click.pass_obj
def verify_command(
    load: _Loader, /, *, channel: str | None, source: str | None, as_json: bool
) -> None:
    """Check stored ledgers: chain, counts and events; with --source every document, in both directions.

    Block files tell which channel they are of. Exits 65 on a difference, 78 where nothing of a channel is stored.
    """
    with exits():
        raise SystemExit(asyncio.run(verify(load(), channel, source, as_json=as_json)))


@main.command("doctor")
@_json_option
@click.pass_obj
def doctor_command(load: _Loader, /, *, as_json: bool) -> None:
    """Check each peer and server that the configuration names: what fails, and what to do.

    Writes nothing. Exits 78 if the configuration, an identity or a right is at fault, else 69 if a server is.
    """
    with exits():
        raise SystemExit(doctor(load, as_json=as_json))


@main.group("reconcile")
def reconcile_group() -> None:
    """The rows of the business database against the ledger.

    The daemon does this by itself. A discrepancy closes by itself, too, when row and ledger agree.
    """


@reconcile_group.command("status")
@_json_option
@click.pass_obj
def reconcile_status(load: _Loader, /, *, as_json: bool) -> None:
    """How far rows are settled, what waits since when, what does not agree, and the servers."""
    with exits():
        asyncio.run(show_standing(load(), as_json=as_json))


@reconcile_group.command("list")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in Kind]),
    help="Only discrepancies of this kind.",
)
@click.option("--all", "closed", is_flag=True, help="Also those that are over.")
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at most."
)
@_json_option
@click.pass_obj
def reconcile_list(
    load: _Loader, /, *, kind: str | None, closed: bool, limit: int, as_json: bool
) -> None:
    """Discrepancies, the newest first: what the ledger says, what the row says, what it means and what to do."""
    with exits():
        of_kind = Kind(kind) if kind is not None else None
        asyncio.run(
            list_discrepancies(load(), of_kind, closed=closed, limit=limit, as_json=as_json)
        )


@reconcile_group.command("once")
@click.option("--full", is_flag=True, help="Compare settled rows too, not only those that wait.")
@_json_option
@click.pass_obj
def reconcile_once_command(load: _Loader, /, *, full: bool, as_json: bool) -> None:
    """Settle and compare what is there now, beside a daemon or without one.

    Exits 65 if discrepancies are open at the end.
    """
    with exits():
        raise SystemExit(asyncio.run(reconcile_once(load(), everything=full, as_json=as_json)))


@main.group("migrate")
def migrate_group() -> None:
    """The schema of the business database (postgres.migration_dsn, or postgres.dsn)."""


@migrate_group.command("up")
@_json_option
@click.pass_obj
def migrate_up(load: _Loader, /, *, as_json: bool) -> None:
    """Apply every migration that is missing."""
    with exits():
        asyncio.run(migrate(load(), Migrator.up, as_json=as_json))


@migrate_group.command("down")
@_json_option
@click.pass_obj
def migrate_down(load: _Loader, /, *, as_json: bool) -> None:
    """Revert the newest migration that is applied."""
    with exits():
        asyncio.run(migrate(load(), Migrator.down, as_json=as_json))


@migrate_group.command("to")
@click.argument("version", type=click.IntRange(0))
@_json_option
@click.pass_obj
def migrate_to(load: _Loader, /, *, version: int, as_json: bool) -> None:
    """Apply or revert until VERSION is the newest that is applied; 0 reverts everything.

    1 is enough for a business schema of another shape: it makes the daemon's own tables only.
    """
    with exits():
        asyncio.run(migrate(load(), lambda migrator: migrator.to(version), as_json=as_json))


@migrate_group.command("status")
@_json_option
@click.pass_obj
def migrate_status(load: _Loader, /, *, as_json: bool) -> None:
    """Which migrations are applied, since when, and what is wrong with them."""
    with exits():
        asyncio.run(show_migrations(load(), as_json=as_json))


@main.group()
def config() -> None:
    """The configuration."""


@config.command("show")
@_json_option
@click.pass_obj
def config_show(load: _Loader, /, *, as_json: bool) -> None:
    """The configuration in effect, without secrets."""
    with exits():
        values = redacted(load())
        if as_json:
            print_json(values)
            return
        for key, value in _flat(values):
            click.echo(f"{key} = {value!r}")


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    lines: list[tuple[str, Any]] = []
    for key, value in values.items():
        nested = isinstance(value, dict) and value
        lines += _flat(value, f"{prefix}{key}.") if nested else [(f"{prefix}{key}", value)]
    return lines


if __name__ == "__main__":
    main()
