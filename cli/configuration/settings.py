"""The settings: every section of the configuration with its keys, their types and defaults."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from cli.configuration.section import Bytes, Name, Port, Seconds, Section
from cli.configuration.server_settings import (
    Address,
    MongoSettings,
    PostgresSettings,
    RedisSettings,
)
from cli.configuration.struct_fields import StructFields
from cli.errors import ConfigurationError
from indexer.audit.scrub import ScrubRate
from indexer.pipeline.deferred_indexes import IndexPolicy
from ledger.mongodb.collections import database_name
from ledger.mongodb.indexes import IndexOptions
from reconciliation.mapping import KINDLEDGER, BusinessTable, EventAmount

IndexCreation = Literal["deferred", "now"]
"""When missing indexes are built: near the head, or before the first block is indexed."""

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9.:\[\]-]+", re.ASCII)
"""An origin as browsers send it; see RFC 6454, section 6.1."""


class ApiSettings(Section):
    """The address, the clients and the limits of the explorer API; 0 means no limit."""

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
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin: give * or scheme://host[:port] in lower case, "
                    "without a path"
                )
        return origins

    @field_validator("trusted_proxies")
    @classmethod
    def _check_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ip_network(network)  # raises ValueError if it is not a network
        return networks

    def reveal_tokens(self) -> list[str]:
        """Return the bearer tokens; the file has one in each line.

        Raises `ConfigurationError` if tokens are configured but there is none.
        """
        lines = (Address(uri_file=self.tokens_file).reveal() or "").splitlines()
        tokens = [token.get_secret_value() for token in self.tokens]
        tokens += [line.strip() for line in lines]
        nonempty = [token for token in tokens if token]
        if not nonempty and (self.tokens or self.tokens_file is not None):
            raise ConfigurationError(
                "api.tokens: every token is empty, so the API would be open to everybody"
            )
        return nonempty


class MonitoringSettings(Section):
    """The address of the daemon's health and metrics. Without a port they are not served."""

    host: str = "127.0.0.1"
    port: Port | None = None


class LogSettings(Section):
    """The level and format of the log; `auto` is `console` on a terminal and `json` elsewhere."""

    level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    format: str = Field(default="auto", pattern="^(auto|console|json)$")


class PeerSettings(Section):
    """A peer: `grpcs://host:port`, `grpc://host:port` (no TLS), or `host:port`.

    An address without a scheme means TLS if `tls_ca` or `tls_ca_pem` is given. `name` is another
    name for it in commands, and `msp_id` the id of its organisation's MSP.
    """

    address: str
    name: str | None = None
    msp_id: str | None = None
    tls_ca: Path | None = None
    tls_ca_pem: str | None = None
    tls_name: str | None = None


class FabricSettings(Section):
    """The peers of the network, listed here or in a connection profile, and the identity."""

    connection_profile: Path | None = None
    peers: tuple[PeerSettings, ...] = ()
    msp_id: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    client_tls_certificate: Path | None = None
    client_tls_key: Path | None = None

    @model_validator(mode="after")
    def _check_pairs(self) -> "FabricSettings":
        if (self.client_tls_certificate is None) != (self.client_tls_key is None):
            raise ValueError("client_tls_certificate and client_tls_key go together")
        return self


class TrustSettings(Section):
    """The number of peers of distinct organisations that must give a block before it is agreed."""

    peers_required: int = Field(default=1, ge=1, le=100)


class ChannelSettings(Section):
    """A channel to index. Its database has its name unless another database is configured."""

    database: str | None = None
    start_block: int = Field(default=0, ge=0)
    genesis_hash: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    config_block: Path | None = None


class IndexerSettings(Section):
    """The daemon's memory limits and timeouts, when indexes are built, and the optional ones."""

    delivered_bytes: Bytes = 16 << 20
    encoded_bytes: Bytes = 16 << 20
    parallel_batches: int = Field(default=2, ge=1, le=16)
    store_retry_s: Seconds = 600.0
    peer_retry_s: Seconds = 3600.0
    poll_s: Seconds = 15.0
    stall_s: Seconds = 30.0
    indexes: IndexCreation = "deferred"
    far_behind_blocks: int = Field(default=IndexPolicy().far_behind_blocks, ge=0)
    owned_ids_bytes: Bytes = IndexPolicy().owned_ids_bytes
    payload_fields: tuple[str, ...] = Field(default=IndexOptions().payload_fields, max_length=8)
    key_history: bool = IndexOptions().key_history

    @field_validator("payload_fields")
    @classmethod
    def _check_fields(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        for field in fields:
            if any(not name or name.startswith("$") or "\0" in name for name in field.split(".")):
                raise ValueError(
                    f"{field!r}: full stops join names; no name is empty or begins with $"
                )
        if len(set(fields)) < len(fields):
            raise ValueError("name each field once")
        return fields


class ArchiveSettings(Section):
    """Whether blocks are kept as they were delivered, and in which folder; without one in MongoDB.

    A channel has a folder of its own in it.
    """

    keep: bool = True
    folder: Path | None = None


class VerificationSettings(Section):
    """Which signatures are verified, and how fast the scrub is; 0 turns it off.

    `block_signatures` are those of the orderers, `envelopes` those of creators and endorsers.
    """

    block_signatures: bool = True
    envelopes: bool = True
    scrub_documents_per_s: float = Field(default=ScrubRate().documents_per_s, ge=0)
    scrub_pause_s: Seconds = ScrubRate().pause_s


class ReconcileSettings(Section):
    """The business rows that name transactions of a channel, and how they are settled.

    Without `tables` they are the tables of KindLedger's schema.
    """

    channel: str | None = None
    # `schema` is an attribute of pydantic's models.
    db_schema: Name = Field(default=KINDLEDGER.schema, alias="schema")
    placeholders: tuple[str, ...] = KINDLEDGER.placeholders
    chaincodes: tuple[Name, ...] = KINDLEDGER.chaincodes
    functions: tuple[Name, ...] = KINDLEDGER.functions
    amounts: tuple[Annotated[EventAmount, StructFields()], ...] | None = None
    tables: tuple[Annotated[BusinessTable, StructFields()], ...] | None = None
    missing_rows: bool = True
    caches: bool = True
    sweep_s: Seconds = 30.0
    grace_s: float = Field(default=120.0, ge=0)
    cross_check_s: Seconds = 86_400.0

    @field_validator("tables")
    @classmethod
    def _check_names(
        cls, tables: tuple[BusinessTable, ...] | None
    ) -> tuple[BusinessTable, ...] | None:
        if tables == ():
            raise ValueError("name a table, or omit the key to use KindLedger's tables")
        names = [table.name for table in tables or ()]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"name each table once; these are repeated: {', '.join(repeated)}")
        return tables


class Settings(Section):
    """The whole configuration."""

    mongo: MongoSettings = MongoSettings()
    postgres: PostgresSettings = PostgresSettings()
    redis: RedisSettings = RedisSettings()
    api: ApiSettings = ApiSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    log: LogSettings = LogSettings()
    fabric: FabricSettings = FabricSettings()
    trust: TrustSettings = TrustSettings()
    channels: dict[str, ChannelSettings] = Field(default_factory=dict)
    indexer: IndexerSettings = IndexerSettings()
    archive: ArchiveSettings = ArchiveSettings()
    verification: VerificationSettings = VerificationSettings()
    reconcile: ReconcileSettings = ReconcileSettings()

    def with_indexes(self, creation: IndexCreation | None) -> "Settings":
        """Return the settings with another `indexer.indexes`, or unchanged without one."""
        if creation is None:
            return self
        indexer = self.indexer.model_copy(update={"indexes": creation})
        return self.model_copy(update={"indexer": indexer})

    def database_of(self, channel: str) -> str:
        """Return the name of a channel's database.

        Raises `ConfigurationError` if no database is configured and the channel's name cannot be
        the name of a database.
        """
        name = self.channels.get(channel, ChannelSettings()).database or database_name(channel)
        if name is None:
            raise ConfigurationError(
                f"channels.{channel}.database: the channel's name cannot be the name of a MongoDB "
                "database; configure another name"
            )
        return name
