"""The connection to MongoDB as configured."""

import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

import pymongo
from prometheus_client import CollectorRegistry
from pymongo import AsyncMongoClient
from pymongo.errors import ConfigurationError as MongoConfigurationError
from pymongo.errors import ConnectionFailure, OperationFailure

from cli.configuration.redaction import unusable_address
from cli.configuration.settings import Settings
from cli.errors import REFUSED, ConfigurationError, UnavailableError, refused_by_mongodb
from ledger.mongodb.stored_channels import find_channels
from runtime.mongo_pool_metrics import MongoPoolMetrics

_KEY = "mongo.uri (KINDLEDGER_MONGO__URI)"
_REPAIR_KEY = "mongo.repair_uri (KINDLEDGER_MONGO__REPAIR_URI)"
_SELECTION_TIMEOUT_MS = 5000
_CLOSE_TIMEOUT_S = 1.0
"""The time limit for ending the sessions at the close; MongoDB also ends them by itself."""


@asynccontextmanager
async def mongo_client(
    settings: Settings, registry: CollectorRegistry | None = None, *, repairs: bool = False
) -> AsyncIterator[AsyncMongoClient[dict[str, Any]]]:
    """Yield a client with time limits, whose connections are counted in the registry.

    With `repairs` it logs in as the user that may change the ledger, if one is configured; then
    the failures of MongoDB are raised as errors that name this address. Raises
    `ConfigurationError` if no address is configured, or one that cannot be used.
    """
    repair_uri = settings.mongo.reveal_for_repairs() if repairs else None
    key = _KEY if repair_uri is None else _REPAIR_KEY
    uri = settings.mongo.reveal() if repair_uri is None else repair_uri
    if uri is None:
        raise ConfigurationError(
            f"{_KEY}: not set; give the address of the replica set, for example "
            "mongodb://host:27017/?replicaSet=rs0"
        )
    pool_metrics = MongoPoolMetrics()
    if registry is not None:
        registry.register(pool_metrics)
    client = _new_client(key, uri, settings.mongo.timeout_s, pool_metrics)
    try:
        with nullcontext() if repair_uri is None else _failures_of(key, uri):
            yield client
    finally:
        with pymongo.timeout(_CLOSE_TIMEOUT_S):
            await client.close()


@contextmanager
def _failures_of(key: str, uri: str) -> Iterator[None]:
    """Raise failures of the block inside that come from this address as errors that name its key.

    `ConfigurationError` or `UnavailableError`. `kindledger doctor` does not check this address.
    """
    try:
        yield
    except MongoConfigurationError as error:
        raise ConfigurationError(f"{key}: {unusable_address(uri, error)}") from error
    except ConnectionFailure as error:
        raise UnavailableError(
            f"{key}: MongoDB is unavailable: {error}. Check host, port, replicaSet and TLS of this "
            "address, and whether the server runs"
        ) from error
    except OperationFailure as error:
        if error.code not in REFUSED:
            raise
        raise ConfigurationError(refused_by_mongodb(error, key)) from error


def _new_client(
    key: str, uri: str, timeout_s: float, pool_metrics: MongoPoolMetrics
) -> AsyncMongoClient[dict[str, Any]]:
    """Return a client for the address. Raises `ConfigurationError` if it cannot be used."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # the driver only warns of a misspelt option
            return AsyncMongoClient[dict[str, Any]](
                uri,
                tz_aware=True,
                appname="kindledger-explorer",
                serverSelectionTimeoutMS=_SELECTION_TIMEOUT_MS,
                connectTimeoutMS=_SELECTION_TIMEOUT_MS,
                socketTimeoutMS=int(timeout_s * 1000),
                event_listeners=[pool_metrics],
            )
    except (MongoConfigurationError, ValueError, UserWarning) as error:
        raise ConfigurationError(f"{key}: {unusable_address(uri, error)}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename is not None:
            reason = f"{error.filename}: cannot be read: {reason}"
        raise ConfigurationError(
            f"{key}: tlsCAFile or tlsCertificateKeyFile cannot be used: {reason}"
        ) from error


async def stored_channels(
    client: AsyncMongoClient[dict[str, Any]], settings: Settings
) -> dict[str, str]:
    """Return the database of each configured channel, or else of each channel in MongoDB."""
    if settings.channels:
        return {channel: settings.database_of(channel) for channel in settings.channels}
    return await find_channels(client)


async def one_channel(
    client: AsyncMongoClient[dict[str, Any]], settings: Settings, channel: str | None
) -> tuple[str, str]:
    """Return the named channel, or else the only one that is stored, and its database.

    Raises `ConfigurationError` if no channel is named, and none or several are stored.
    """
    channels = await stored_channels(client, settings)
    if channel is not None:
        return channel, channels.get(channel) or settings.database_of(channel)
    if len(channels) != 1:
        names = ", ".join(sorted(channels)) or "none is stored in this MongoDB"
        raise ConfigurationError(f"--channel: name one of the channels: {names}")
    return next(iter(channels.items()))
