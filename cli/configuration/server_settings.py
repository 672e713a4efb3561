"""The sections of the database servers: addresses with their passwords, TLS and time limits."""

from pathlib import Path

from pydantic import Field, SecretStr, model_validator

from cli.configuration.section import Seconds, Section
from cli.errors import ConfigurationError


class Address(Section):
    """The address of a server with its password: the text itself, or a file that contains it."""

    uri: SecretStr | None = None
    uri_file: Path | None = None

    def reveal(self) -> str | None:
        """Return the address with its password, or None if it is not configured.

        Raises `ConfigurationError` if the file cannot be read.
        """
        if self.uri_file is not None:
            try:
                return self.uri_file.read_text().strip()
            except OSError as error:
                raise ConfigurationError(
                    f"{self.uri_file}: cannot be read: {error.strerror}"
                ) from error
        return self.uri.get_secret_value() if self.uri is not None else None


class MongoSettings(Address):
    """The database of the ledger, `mongodb://…`, and the time limit of one call."""

    repair_uri: SecretStr | None = None
    repair_uri_file: Path | None = None
    timeout_s: Seconds = 30.0

    def reveal_for_repairs(self) -> str | None:
        """Return the address for the user that may change the ledger, or None."""
        return Address(uri=self.repair_uri, uri_file=self.repair_uri_file).reveal() or None


class PostgresSettings(Section):
    """The business database, `postgresql://…`: the primary, and replicas to read reports from.

    The TLS settings hold for all servers, and override those in an address.
    """

    dsn: SecretStr | None = None
    dsn_file: Path | None = None
    migration_dsn: SecretStr | None = None
    migration_dsn_file: Path | None = None
    replica_dsns: tuple[SecretStr, ...] = ()
    replica_dsn_files: tuple[Path, ...] = ()
    tls_mode: str | None = Field(
        default=None, pattern="^(disable|allow|prefer|require|verify-ca|verify-full)$"
    )
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    pool_size: int = Field(default=4, ge=4, le=100)
    statement_timeout_s: Seconds = 30.0
    lock_timeout_s: Seconds = 2.0
    replica_lag_s: Seconds = 10.0

    @model_validator(mode="after")
    def _check_pairs(self) -> "PostgresSettings":
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        return self

    def reveal(self) -> str | None:
        """Return the address of the primary with its password; see `Address.reveal`."""
        return Address(uri=self.dsn, uri_file=self.dsn_file).reveal()

    def reveal_for_migrations(self) -> str | None:
        """Return the address for the owner of the schema, or None."""
        return Address(uri=self.migration_dsn, uri_file=self.migration_dsn_file).reveal() or None

    def reveal_replicas(self) -> list[str]:
        """Return the addresses of the replicas with their passwords; see `Address.reveal`."""
        files = [Address(uri_file=file).reveal() or "" for file in self.replica_dsn_files]
        return [dsn.get_secret_value() for dsn in self.replica_dsns] + files


class RedisSettings(Section):
    """The address of Redis, `redis://…`."""

    url: SecretStr | None = None
    url_file: Path | None = None

    def reveal(self) -> str | None:
        """Return the address with its password; see `Address.reveal`."""
        return Address(uri=self.url, uri_file=self.url_file).reveal()
