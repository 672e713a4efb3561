"""MongoDB: reached, selected, logged in, recent enough, and the rights that it gives. Nothing is written."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct
from pymongo import AsyncMongoClient
from pymongo.asynchronous.uri_parser import parse_uri
from pymongo.errors import ConfigurationError as MongoConfigurationError
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from cli.assembly.mongo import mongo_client
from cli.configuration.redaction import unusable_address
from cli.configuration.settings import Settings
from cli.doctor.checks import (
    Check,
    Details,
    FailedStepError,
    SkippedStepError,
    configured,
    run_part,
    skipped,
)
from cli.doctor.mongo_rights import NEEDED_TO_INDEX, NEEDED_TO_READ, describe_rights
from cli.doctor.network import DNS, TCP, connect, resolve
from cli.errors import Exit

_ADDRESS, _SELECTION, _AUTHENTICATION, _VERSION, _RIGHTS = (
    "address",
    "selection",
    "authentication",
    "version",
    "rights",
)
_OLDEST = (4, 4)
_UNAUTHORIZED = 13
_LOGIN_ADVICE = "Check user, password (percent-encoded) and authSource in mongo.uri; config/mongo-roles.js makes the users."

_Client = AsyncMongoClient[dict[str, Any]]


class Login(Struct, frozen=True):
    """Who the URI's user is to the server; `privileges` is None where access control is off."""

    user: str
    privileges: list[dict[str, Any]] | None


async def check_mongodb(settings: Settings, limit_s: float) -> list[Check]:
    """The steps of one connection, then the rights on each channel's database."""
    if settings.mongo.uri is None and settings.mongo.uri_file is None:
        return [skipped("mongodb", "not configured: set mongo.uri (KINDLEDGER_MONGO__URI)")]
    login: list[Login] = []

    async def probe(details: Details) -> None:
        with configured(_ADDRESS, "Correct mongo.uri or mongo.uri_file."):
            parsed = await _parse(settings.mongo.reveal() or "", details, limit_s)
            reached = await _reach(parsed, details, limit_s)
            async with mongo_client(settings) as client:
                details[_SELECTION] = "a server was found"
                details[_SELECTION] = await _select(client, parsed, reached, limit_s)
                login.append(await _log_in(client))
                details[_AUTHENTICATION] = login[0].user
                details[_VERSION] = await _check_version(client)

    steps = (_ADDRESS, DNS, TCP, _SELECTION, _AUTHENTICATION, _VERSION)
    checks = await run_part("mongodb", steps, probe)
    if not settings.channels:
        return [
            *checks,
            skipped(f"mongodb: {_RIGHTS}", "no channel is configured, so no database is known"),
        ]
    for channel in settings.channels:
        checks += await _check_rights(settings, channel, login[0] if login else None)
    return checks


async def _parse(uri: str, details: Details, limit_s: float) -> dict[str, Any]:
    """The parts of the address; mongodb+srv:// asks DNS for them."""
    try:
        parsed = await parse_uri(uri, connect_timeout=limit_s)
    except (MongoConfigurationError, ValueError) as error:
        advice = "Write it as mongodb://user:password@host:27017/?replicaSet=name."
        raise FailedStepError(
            _ADDRESS, unusable_address(uri, error), advice, Exit.CONFIGURATION
        ) from error
    details[_ADDRESS] = ", ".join(f"{host}:{port}" for host, port in parsed["nodelist"])
    return parsed


async def _reach(
    parsed: Mapping[str, Any], details: Details, limit_s: float
) -> list[tuple[str, int]]:
    """The servers of the address that accept connections: one is enough, the others are noted."""
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
    client: _Client, parsed: Mapping[str, Any], reached: list[tuple[str, int]], limit_s: float
) -> str:
    """Waits for a server that takes writes; says why there is none."""
    try:
        async with asyncio.timeout(limit_s):
            await client.admin.command("ping")
    except OperationFailure as error:
        raise _login_refused(error) from error
    except MongoConfigurationError as error:
        raise FailedStepError(
            _SELECTION, str(error), "Correct mongo.uri.", Exit.CONFIGURATION
        ) from error
    except (ConnectionFailure, TimeoutError) as error:
        raise await _no_server(parsed, reached, limit_s) from error
    topology = client.topology_description
    name = f" {topology.replica_set_name}" if topology.replica_set_name else ""
    return f"{topology.topology_type_name}{name}"


async def _no_server(
    parsed: Mapping[str, Any], reached: list[tuple[str, int]], limit_s: float
) -> FailedStepError:
    """Why none of the servers that accept connections takes writes."""
    answers = [
        answer
        for server in reached
        if (answer := await _hello(parsed, server, limit_s)) is not None
    ]
    if not answers:
        return FailedStepError(
            _SELECTION,
            "the servers accept connections, but do not answer as MongoDB",
            "Check the port; a server that demands TLS needs tls=true (and tlsCAFile) in mongo.uri.",
            Exit.CONFIGURATION,
        )
    if any(answer.get("isreplicaset") for answer in answers):
        return FailedStepError(
            _SELECTION,
            "the server waits to become a member of a replica set",
            "Initiate the replica set once: rs.initiate().",
            Exit.CONFIGURATION,
        )
    wanted = parsed["options"].get("replicaSet")
    names = {answer.get("setName") for answer in answers}
    if wanted is not None and wanted not in names:
        found = ", ".join(
            f"replica set {name}" if name else "a server without replica set" for name in names
        )
        return FailedStepError(
            _SELECTION,
            f"mongo.uri says replicaSet={wanted}, found {found}",
            "Correct replicaSet.",
            Exit.CONFIGURATION,
        )
    away = await _members_away(answers, limit_s)
    if away:
        return FailedStepError(
            _SELECTION,
            f"the replica set names members that this machine cannot reach: {', '.join(away)}",
            "Clients connect to the names in rs.conf(): make them known and reachable here.",
            Exit.UNAVAILABLE,
        )
    return FailedStepError(
        _SELECTION,
        "no server takes writes: there is no primary",
        "Look at rs.status().",
        Exit.UNAVAILABLE,
    )


async def _hello(
    parsed: Mapping[str, Any], server: tuple[str, int], limit_s: float
) -> dict[str, Any] | None:
    """What one server says of itself, which it tells anyone."""
    options = {
        name: value
        for name, value in parsed["options"].items()
        if name.lower().startswith(("tls", "ssl"))
    }
    options |= dict.fromkeys(("serverSelectionTimeoutMS", "connectTimeoutMS"), int(limit_s * 1000))
    host, port = server
    try:
        async with AsyncMongoClient[dict[str, Any]](
            host, port, directConnection=True, **options
        ) as client:
            return await client.admin.command("hello")
    except PyMongoError:
        return None


async def _members_away(answers: Iterable[Mapping[str, Any]], limit_s: float) -> list[str]:
    members = sorted({str(host) for answer in answers for host in answer.get("hosts", ())})
    away = []
    for member in members:
        host, _, port = member.rpartition(":")
        try:
            await resolve(host, int(port), limit_s)
            await connect(host, int(port), limit_s)
        except FailedStepError as error:
            away.append(error.detail)
    return away


async def _log_in(client: _Client) -> Login:
    """Who we are. Without a user, whether the server wants one."""
    try:
        status = await client.admin.command("connectionStatus", showPrivileges=True)
        users = status["authInfo"]["authenticatedUsers"]
        if users:
            user = ", ".join(f"{user['user']}@{user['db']}" for user in users)
            return Login(f"logged in as {user}", status["authInfo"]["authenticatedUserPrivileges"])
        await client.list_database_names()
    except OperationFailure as error:
        raise _login_refused(error) from error
    return Login("access control is off: whoever reaches this server can change the ledger", None)


def _login_refused(error: OperationFailure) -> FailedStepError:
    detail = str((error.details or {}).get("errmsg", error))
    if error.code == _UNAUTHORIZED:
        detail = f"access control is on, and mongo.uri names no user: {detail}"
    return FailedStepError(_AUTHENTICATION, detail, _LOGIN_ADVICE, Exit.CONFIGURATION)


async def _check_version(client: _Client) -> str:
    build = await client.admin.command("buildInfo")
    if tuple(build["versionArray"][:2]) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
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
        indexes = settings.fabric.peers or settings.fabric.connection_profile is not None
        needed = NEEDED_TO_INDEX if indexes else NEEDED_TO_READ
        with configured(_RIGHTS, "Name another database for that channel."):
            database = settings.database_of(channel)
        details[_RIGHTS] = describe_rights(_RIGHTS, login.privileges, database, needed)

    return await run_part(f"mongodb, {channel}", (_RIGHTS,), probe)
