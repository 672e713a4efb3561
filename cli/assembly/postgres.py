"""The configured addresses of the business database, and the errors that its failures raise."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import asyncpg

from cli.configuration.redaction import unusable_address
from cli.configuration.server_settings import PostgresSettings
from cli.errors import ConfigurationError, PostgresUnavailableError
from reconciliation.errors import POSTGRES_ERRORS, is_unavailable, with_advice


def primary_dsn(settings: PostgresSettings) -> str:
    """Return the address of the primary. Raises `ConfigurationError` if it cannot be used."""
    return _usable("postgres.dsn", settings.reveal() or "", settings)


def owner_dsn(settings: PostgresSettings) -> tuple[str, str]:
    """Return the address for migrations, and the key that has it.

    This is the address of the schema's owner, or if there is none, of the primary. Raises
    `ConfigurationError` if neither is configured, or if it cannot be used.
    """
    owner = settings.reveal_for_migrations()
    key, dsn = (
        ("postgres.dsn", settings.reveal())
        if owner is None
        else ("postgres.migration_dsn (KINDLEDGER_POSTGRES__MIGRATION_DSN)", owner)
    )
    if dsn is None:
        raise ConfigurationError(
            "postgres.migration_dsn (KINDLEDGER_POSTGRES__MIGRATION_DSN): neither it nor "
            "postgres.dsn is set; give the address of the business database for its owner, for "
            "example postgresql://owner:password@host:5432/kindledger"
        )
    return _usable(key, dsn, settings), key


def replica_dsns(settings: PostgresSettings) -> list[str]:
    """Return the addresses of the replicas.

    Raises `ConfigurationError` if an address cannot be used.
    """
    return [
        _usable(f"postgres.replica_dsns, replica {number}", dsn, settings)
        for number, dsn in enumerate(settings.reveal_replicas(), 1)
    ]


def _usable(key: str, dsn: str, settings: PostgresSettings) -> str:
    """Return the address with the configured TLS settings, which override those in the address."""
    if not dsn.startswith(("postgresql://", "postgres://")):
        raise ConfigurationError(
            f"{key}: write it as postgresql://user:password@host:5432/database"
        )
    try:
        _check_syntax(dsn)
    except ValueError as error:
        raise ConfigurationError(f"{key}: {unusable_address(dsn, error)}") from error
    tls = {
        "sslmode": settings.tls_mode,
        "sslrootcert": _file("postgres.tls_ca", settings.tls_ca),
        "sslcert": _file("postgres.tls_certificate", settings.tls_certificate),
        "sslkey": _file("postgres.tls_key", settings.tls_key),
    }
    query = urlencode({name: value for name, value in tls.items() if value is not None})
    return f"{dsn}{'&' if '?' in dsn else '?'}{query}" if query else dsn


def _check_syntax(dsn: str) -> None:
    """Raise `ValueError` if the driver could not parse the address.

    The driver's own error may quote parts of the password.
    """
    parts = urlsplit(dsn)
    for host in parts.netloc.rpartition("@")[2].split(","):
        urlsplit(f"//{host}").port  # noqa: B018 - raises ValueError if it is not a number
    if parts.query:
        parse_qs(parts.query, strict_parsing=True)


def _file(key: str, path: Path | None) -> str | None:
    if path is not None and not path.is_file():
        raise ConfigurationError(f"{key}: {path}: no such file")
    return str(path) if path is not None else None


@contextmanager
def postgres_failures() -> Iterator[None]:
    """Raise the errors of the block inside as errors of the commands.

    `PostgresUnavailableError` if a server is unavailable, `ConfigurationError` if the driver cannot
    use its address, `ReconciliationError` if an operator must act.
    """
    try:
        yield
    except asyncpg.ClientConfigurationError as error:
        raise ConfigurationError(f"postgres.dsn: {error}") from error
    except POSTGRES_ERRORS as error:
        if is_unavailable(error):
            raise PostgresUnavailableError(
                f"PostgreSQL: {str(error) or 'no answer in time'}"
            ) from error
        if isinstance(error, asyncpg.PostgresError):
            raise with_advice(error) from error
        raise
