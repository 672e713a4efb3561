"""What can be configured: every section with its keys, their types and defaults."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from cli.errors import ConfigurationError
from ledger.mongodb.collections import database_name
from ledger.mongodb.indexes import IndexOptions
from reconciliation.mapping import KINDLEDGER

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9.:\[\]-]+", re.ASCII)
"""As a browser says it; see RFC 6454, section 6.1."""

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Bytes = Annotated[int, Field(gt=0)]
Name = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Address(_Part):
    """Where a server is, with its password: given directly, or as a file that holds it."""

    uri: SecretStr | None = None
    uri_file: Path | None = None

    def reveal(self) -> str | None:
        """The address itself; None where the part is not configured. Raises `ConfigurationError`."""
        if self.uri_file is not None:
            try:
                return self.uri_file.read_text().strip()
            except OSError as error:
                raise ConfigurationError(
                    f"{self.uri_file}: cannot be read: {error.strerror}"
                ) from error
        return self.uri.get_secret_value() if self.uri is not None else None


class MongoSettings(Address):
    """The ledger's database, `mongodb://…`; how long one call may take."""

    timeout_s: Seconds = 30.0


class PostgresSettings(_Part):
    """The business database, `postgresql://…`: the primary, and replicas that reports may be read from.

    The TLS settings hold for all of them, and go before what an address says itself.
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
    def _pairs(self) -> "PostgresSettings":
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        return self

    def reveal(self) -> str | None:
        """The address itself, see `Address.reveal`."""
        return Address(uri=self.dsn, uri_file=self.dsn_file).reveal()

    def reveal_for_migrations(self) -> str | None:
        """The address for the schema's owner, or else the daemon's, see `Address.reveal`."""
        return (
            Address(uri=self.migration_dsn, uri_file=self.migration_dsn_file).reveal()
            or self.reveal()
        )

    def reveal_replicas(self) -> list[str]:
        """The addresses of the replicas, see `Address.reveal`."""
        files = [Address(uri_file=file).reveal() or "" for file in self.replica_dsn_files]
        return [dsn.get_secret_value() for dsn in self.replica_dsns] + files


class RedisSettings(_Part):
    """Redis, `redis://…`."""

    url: SecretStr | None = None
    url_file: Path | None = None

    def reveal(self) -> str | None:
        """The address itself, see `Address.reveal`."""
        return Address(uri=self.url, uri_file=self.url_file).reveal()


class ApiSettings(_Part):
    """Where the explorer API listens, whom it answers, and how much it takes for that; 0 is no limit."""

    host: str = "127.0.0.1"
    port: Port = 8080
    request_s: Seconds = 5.0
    cache_bytes: int = Field(default=64 << 20, ge=0)
    requests_per_minute: int = Field(default=600, ge=0)
    tokens: tuple[SecretStr, ...] = ()
    tokens_file: Path | None = None
    cors_origins: tuple[Name, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    streams: int = Field(default=10_000, ge=1)
    streams_per_client: int = Field(default=100, ge=0)
    replay_blocks: int = Field(default=100_000, ge=1)

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin: give * or scheme://host[:port], in lower case, no path"
                )
        return origins

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ip_network(network)  # a ValueError says what is wrong
        return networks

    def reveal_tokens(self) -> list[str]:
        """The bearer tokens, one a line in the file. Raises `ConfigurationError`."""
        lines = (Address(uri_file=self.tokens_file).reveal() or "").splitlines()
        given = [token.get_secret_value() for token in self.tokens] + [
            line.strip() for line in lines
        ]
        tokens = [token for token in given if token]
        if not tokens and (self.tokens or self.tokens_file is not None):
            raise ConfigurationError(
                "api.tokens: none is given, so the API would be open to everybody"
            )
        return tokens


class MonitoringSettings(_Part):
    """Where the daemon shows its health and metrics; nowhere without a port."""

    host: str = "127.0.0.1"
    port: Port | None = None


class LogSettings(_Part):
    """What is logged, and how: `auto` is for people on a terminal and JSON elsewhere."""

    level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    format: str = Field(default="auto", pattern="^(auto|console|json)$")


class PeerSettings(_Part):
    """A peer: `grpcs://host:port`, `grpc://host:port` (no TLS), or `host:port` (TLS where `tls_ca` is given)."""

    address: str
    tls_ca: Path | None = None
    tls_ca_pem: str | None = None
    tls_name: str | None = None


class FabricSettings(_Part):
    """The network, by a connection profile or directly, and the identity that reads from it."""

    connection_profile: Path | None = None
    peers: tuple[PeerSettings, ...] = ()
    msp_id: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    client_tls_certificate: Path | None = None
    client_tls_key: Path | None = None

    @model_validator(mode="after")
    def _pairs(self) -> "FabricSettings":
        if (self.client_tls_certificate is None) != (self.client_tls_key is None):
            raise ValueError("client_tls_certificate and client_tls_key go together")
        return self


class ChannelSettings(_Part):
    """A channel to index; the database is named after it unless said otherwise."""

    database: str | None = None
    start_block: int = Field(default=0, ge=0)


class IndexerSettings(_Part):
    """Bounds of the daemon's memory and patience, and what is indexed beyond the required."""

    delivered_bytes: Bytes = 24 << 20
    encoded_bytes: Bytes = 32 << 20
    parallel_batches: int = Field(default=2, ge=1, le=16)
    store_retry_s: Seconds = 600.0
    peer_retry_s: Seconds = 3600.0
    poll_s: Seconds = 15.0
    stall_s: Seconds = 30.0
    payload_fields: tuple[str, ...] = Field(default=IndexOptions().payload_fields, max_length=8)
    key_history: bool = IndexOptions().key_history

    @field_validator("payload_fields")
    @classmethod
    def _paths(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        for field in fields:
            if any(not name or name.startswith("$") or "\0" in name for name in field.split(".")):
                raise ValueError(
                    f"{field!r}: full stops join names, of which none is empty or begins with $"
                )
        if len(set(fields)) < len(fields):
            raise ValueError("each field is named once")
        return fields


class TableSettings(_Part):
    """A table whose rows name transactions: names of columns, and the states where it has a status."""

    name: Name
    hash: Name
    key: Name = "id"
    status: Name | None = None
    pending: Name = "PENDING"
    confirmed: Name = "CONFIRMED"
    failed: Name = "FAILED"
    block: Name | None = None
    confirmed_at: Name | None = None
    created_at: Name | None = None
    amount: Name | None = None
    campaign: Name | None = None


class AmountSettings(_Part):
    """An event that states the amount of its transaction, in that field of its payload."""

    event: Name
    path: Name


class ReconcileSettings(_Part):
    """Which business rows name transactions of which channel; KindLedger's schema unless `tables` says otherwise."""

    channel: str | None = None
    db_schema: Name = Field(
        default=KINDLEDGER.schema, alias="schema"
    )  # pydantic has an attribute of that name
    placeholders: tuple[str, ...] = KINDLEDGER.placeholders
    chaincodes: tuple[Name, ...] = KINDLEDGER.chaincodes
    functions: tuple[Name, ...] = KINDLEDGER.functions
    amounts: tuple[AmountSettings, ...] | None = None
    tables: tuple[TableSettings, ...] | None = None
    missing_rows: bool = True
    caches: bool = True
    sweep_s: Seconds = 30.0
    grace_s: float = Field(default=120.0, ge=0)
    cross_check_s: Seconds = 86_400.0

    @field_validator("tables")
    @classmethod
    def _each_once(
        cls, tables: tuple[TableSettings, ...] | None
    ) -> tuple[TableSettings, ...] | None:
        if tables == ():
            raise ValueError("name a table, or leave the key out for KindLedger's tables")
        names = [table.name for table in tables or ()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"each table is named once, not so: {', '.join(twice)}")
        return tables


class Settings(_Part):
    """Everything that can be configured."""

    mongo: MongoSettings = MongoSettings()
    postgres: PostgresSettings = PostgresSettings()
    redis: RedisSettings = RedisSettings()
    api: ApiSettings = ApiSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    log: LogSettings = LogSettings()
    fabric: FabricSettings = FabricSettings()
    channels: dict[str, ChannelSettings] = {}
    indexer: IndexerSettings = IndexerSettings()
    reconcile: ReconcileSettings = ReconcileSettings()

    def database_of(self, channel: str) -> str:
        """The database that keeps a channel. Raises `ConfigurationError` where its name cannot serve as one."""
        name = self.channels.get(channel, ChannelSettings()).database or database_name(channel)
        if name is None:
            raise ConfigurationError(
                f"channels.{channel}.database: MongoDB takes no database of that channel's name; configure another one"
            )
        return name
