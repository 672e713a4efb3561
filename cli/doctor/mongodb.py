"""Checks MongoDB: address, connection, server selection, login, version and rights.

Nothing is written.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, TypeAlias

from msgspec import Struct
from pymongo import AsyncMongoClient
from pymongo.asynchronous.uri_parser import parse_uri
from pymongo.errors import ConfigurationError as MongoConfigurationError
from pymongo.errors import ConnectionFailure, OperationFailure

from cli.assembly.mongo import mongo_client
from cli.configuration.redaction import unusable_address
from cli.configuration.settings import Settings
from cli.doctor.checks import (
    Check,
    Details,
    FailedStepError,
    Risk,
    SkippedStepError,
    fail_on_configuration_error,
    run_part,
    skipped,
)
from cli.doctor.mongo_indexes import check_indexes
from cli.doctor.mongo_leftovers import check_leftovers
from cli.doctor.mongo_rights import describe_rights, needed_rights
from cli.doctor.mongo_selection import SELECTION, explain_no_server
from cli.doctor.network import DNS, TCP, connect, resolve
from cli.errors import Exit

_ADDRESS, _AUTHENTICATION, _VERSION, _RIGHTS = "address", "authentication", "version", "rights"
_OLDEST_VERSION = (4, 4)
_UNAUTHORIZED = 13
_LOGIN_ADVICE = (
    "Check user, password (percent-encoded) and authSource in mongo.uri; config/mongo-roles.js "
    "creates the users."
)
_ACCESS_CONTROL_OFF = Risk(
    "access control is off: everybody who can connect to this server can change the ledger",
    "Switch on access control (security.authorization), and create the users with "
    "config/mongo-roles.js.",
)

_Client: TypeAlias = AsyncMongoClient[dict[str, Any]]


class Login(Struct, frozen=True):
    """The users that the server authenticated; `privileges` is None if access control is off."""

    users: str
    privileges: list[dict[str, Any]] | None


async def check_mongodb(settings: Settings, limit_s: float) -> list[Check]:
    """Check the steps of one connection, then the rights and indexes of each channel's database."""
    if settings.mongo.uri is None and settings.mongo.uri_file is None:
        return [skipped("mongodb", "not configured: set mongo.uri (KINDLEDGER_MONGO__URI)")]
    login: Login | None = None

    async def probe(details: Details) -> None:
        nonlocal login
        with fail_on_configuration_error(_ADDRESS, "Correct mongo.uri or mongo.uri_file."):
            parsed = await _parse(settings.mongo.reveal() or "", details, limit_s)
            reachable = await _reach(parsed, details, limit_s)
            async with mongo_client(settings) as client:
                details[SELECTION] = "a server was found"  # stays if the server refuses the login
                details[SELECTION] = await _select(client, parsed, reachable, limit_s)
                login = await _log_in(client)
                details[_AUTHENTICATION] = (
                    _ACCESS_CONTROL_OFF if login.privileges is None else login.users
                )
                details[_VERSION] = await _check_version(client)

    steps = (_ADDRESS, DNS, TCP, SELECTION, _AUTHENTICATION, _VERSION)
    checks = await run_part("mongodb", steps, probe)
    if not settings.channels:
        reason = "no channel is configured, so no database is known"
        return [*checks, skipped(f"mongodb: {_RIGHTS}", reason)]
    for channel in settings.channels:
        checks += await _check_rights(settings, channel, login)
        checks += await check_indexes(settings, channel, limit_s, reachable=login is not None)
        checks += await check_leftovers(settings, channel, limit_s, reachable=login is not None)
    return checks


async def _parse(uri: str, details: Details, limit_s: float) -> dict[str, Any]:
    """Return the parts of the address. For mongodb+srv:// this asks DNS for the servers."""
    try:
        parsed = await parse_uri(uri, connect_timeout=limit_s)
    except (MongoConfigurationError, ValueError) as error:
        advice = "Write it as mongodb://user:password@host:27017/?replicaSet=name."
        raise FailedStepError(
            _ADDRESS, unusable_address(uri, error), advice, Exit.CONFIGURATION
        ) from error
    except OSError as error:
        raise FailedStepError(
            _ADDRESS,
            f"{error.filename}: cannot be read: {error.strerror}",
            "Correct tlsCAFile or tlsCertificateKeyFile in mongo.uri.",
            Exit.CONFIGURATION,
        ) from error
    details[_ADDRESS] = ", ".join(f"{host}:{port}" for host, port in parsed["nodelist"])
    return parsed


async def _reach(
    parsed: Mapping[str, Any], details: Details, limit_s: float
) -> list[tuple[str, int]]:
    """Return the servers that accept connections. One is enough; the others are noted."""
    servers = [(host, port) for host, port in parsed["nodelist"] if port is not None]
    for step, check in ((DNS, resolve), (TCP, connect)):
        results = await asyncio.gather(
            *(check(host, port, limit_s) for host, port in servers), return_exceptions=True
        )
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures and len(failures) == len(servers):
            raise failures[0]
        details[step] = "; ".join(str(result) for result in results)
        servers = [
            server
            for server, result in zip(servers, results, strict=True)
            if isinstance(result, str)
        ]
    return servers


async def _select(
    client: _Client, parsed: Mapping[str, Any], reachable: list[tuple[str, int]], limit_s: float
) -> str:
    """Return the topology with a server that accepts writes.

    Raises `FailedStepError` that says why there is no such server.
    """
    try:
        async with asyncio.timeout(limit_s):
            await client.admin.command("ping")
    except OperationFailure as error:
        raise _login_refused(error) from error
    except MongoConfigurationError as error:
        raise FailedStepError(
            SELECTION, str(error), "Correct mongo.uri.", Exit.CONFIGURATION
        ) from error
    except (ConnectionFailure, TimeoutError) as error:
        raise await explain_no_server(parsed, reachable, limit_s) from error
    topology = client.topology_description
    name = f" {topology.replica_set_name}" if topology.replica_set_name else ""
    return f"{topology.topology_type_name}{name}"


async def _log_in(client: _Client) -> Login:
    """Return the authenticated users. Without a user, check whether the server demands one."""
    try:
        status = await client.admin.command("connectionStatus", showPrivileges=True)
        users = status["authInfo"]["authenticatedUsers"]
        if users:
            names = ", ".join(f"{user['user']}@{user['db']}" for user in users)
            privileges = status["authInfo"]["authenticatedUserPrivileges"]
            return Login(f"logged in as {names}", privileges)
        await client.list_database_names()
    except OperationFailure as error:
        raise _login_refused(error) from error
    return Login("", None)


def _login_refused(error: OperationFailure) -> FailedStepError:
    detail = str((error.details or {}).get("errmsg", error))
    if error.code == _UNAUTHORIZED:
        detail = f"access control is on, and mongo.uri names no user: {detail}"
    return FailedStepError(_AUTHENTICATION, detail, _LOGIN_ADVICE, Exit.CONFIGURATION)


async def _check_version(client: _Client) -> str:
    build = await client.admin.command("buildInfo")
    if tuple(build["versionArray"][:2]) < _OLDEST_VERSION:
        oldest = ".".join(map(str, _OLDEST_VERSION))
        raise FailedStepError(
            _VERSION,
            f"MongoDB {build['version']} is too old",
            f"Upgrade to {oldest} or later.",
            Exit.CONFIGURATION,
        )
    return f"MongoDB {build['version']}"


async def _check_rights(settings: Settings, channel: str, login: Login | None) -> list[Check]:
    async def probe(details: Details) -> None:
        if login is None:
            raise SkippedStepError(_RIGHTS, f"needs mongodb: {_AUTHENTICATION}")
        if login.privileges is None:
            raise SkippedStepError(_RIGHTS, "access control is off")
        has_peers = settings.fabric.peers or settings.fabric.connection_profile is not None
        archive = settings.archive
        needed = needed_rights(
            indexes=bool(has_peers),
            verifies_envelopes=settings.verification.envelopes,
            raw_blocks=archive.keep and archive.folder is None,
        )
        advice = "Configure another database for this channel."
        with fail_on_configuration_error(_RIGHTS, advice):
            database = settings.database_of(channel)
        details[_RIGHTS] = describe_rights(_RIGHTS, login.privileges, database, needed)

    return await run_part(f"mongodb, {channel}", (_RIGHTS,), probe)
