"""Checks PostgreSQL: connects once to each server, and tells which step of the connection fails.

Nothing is written.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable

import asyncpg

from cli.assembly.postgres import primary_dsn, replica_dsns
from cli.configuration.redaction import redact_uri, unusable_address
from cli.configuration.server_settings import PostgresSettings
from cli.configuration.settings import Settings
from cli.doctor.business import PRIMARY_STEPS, REPLICA_STEPS, check_primary, check_replica
from cli.doctor.checks import (
    Check,
    Details,
    FailedStepError,
    fail_on_configuration_error,
    run_part,
    skipped,
)
from cli.doctor.network import DNS, TCP, unreachable
from cli.errors import Exit
from reconciliation.connection import Connection

_ADDRESS, _SESSION, _AUTHENTICATION, _DATABASE = "address", "session", "authentication", "database"
_STEPS = (_ADDRESS, DNS, TCP, _SESSION, _AUTHENTICATION, _DATABASE)


async def check_postgresql(settings: Settings, limit_s: float) -> list[Check]:
    """Check the primary, then each replica.

    The steps are address, name resolution, connection, session (TLS, free connections), login and
    database, then what reconciliation needs of this server.
    """
    postgres = settings.postgres
    if postgres.dsn is None and postgres.dsn_file is None:
        return [skipped("postgresql", "not configured: reconciliation is off (postgres.dsn)")]

    async def probe(details: Details) -> None:
        connection = await _connect("postgres.dsn", lambda: primary_dsn(postgres), details, limit_s)
        try:
            await check_primary(connection, settings.reconcile, details)
        finally:
            connection.terminate()

    checks = await run_part("postgresql", (*_STEPS, *PRIMARY_STEPS), probe)
    for number in range(1, len(postgres.replica_dsns) + len(postgres.replica_dsn_files) + 1):
        checks += await _check_replica(postgres, number, limit_s)
    return checks


async def _check_replica(settings: PostgresSettings, number: int, limit_s: float) -> list[Check]:
    key = f"replica {number} of postgres.replica_dsns"

    async def probe(details: Details) -> None:
        connection = await _connect(
            key, lambda: replica_dsns(settings)[number - 1], details, limit_s
        )
        try:
            await check_replica(connection, settings, number, details)
        finally:
            connection.terminate()

    return await run_part(f"postgresql, replica {number}", (*_STEPS, *REPLICA_STEPS), probe)


async def _connect(
    key: str, address: Callable[[], str], details: Details, limit_s: float
) -> Connection:
    """Connect, and note the result of each step. Raises `FailedStepError`, which names the key."""
    with fail_on_configuration_error(_ADDRESS, "Correct the section [postgres]."):
        dsn = address()
    # The driver does all steps in one call. These results hold for the steps before a failed one.
    details |= {_ADDRESS: redact_uri(dsn), DNS: "the name is known", TCP: "accepts connections"}
    details |= {_SESSION: "opened", _AUTHENTICATION: "accepted", _DATABASE: "opened"}
    try:
        async with asyncio.timeout(limit_s):
            connection = await asyncpg.connect(dsn, command_timeout=limit_s)
    except TimeoutError as error:
        advice = (
            "Check the address and the firewalls; if they are right, the server does not respond."
        )
        raise FailedStepError(
            TCP, f"no answer within {limit_s:g} s", advice, Exit.UNAVAILABLE
        ) from error
    except OSError as error:
        raise _explain_unreachable(key, error) from error
    except asyncpg.PostgresError as error:
        raise _explain_refusal(key, error) from error
    except (asyncpg.InterfaceError, ValueError) as error:
        advice = "Write it as postgresql://user:password@host:5432/database."
        raise FailedStepError(
            _ADDRESS, unusable_address(dsn, error), advice, Exit.CONFIGURATION
        ) from error
    version = connection.get_server_version()
    details[_SESSION] = f"PostgreSQL {version.major}.{version.micro}"
    return connection


def _explain_unreachable(key: str, error: OSError) -> FailedStepError:
    if isinstance(error, socket.gaierror):
        advice = (
            f"Check the host in {key}; if it is right, check this machine's DNS servers and "
            "/etc/hosts."
        )
        return FailedStepError(DNS, str(error.strerror), advice, Exit.CONFIGURATION)
    if isinstance(error, ssl.SSLError) or (
        isinstance(error, ConnectionError) and error.errno is None
    ):
        advice = (
            "Check the port, postgres.tls_mode and postgres.tls_ca, or sslmode and sslrootcert in "
            f"{key}."
        )
        return FailedStepError(_SESSION, str(error), advice, Exit.CONFIGURATION)
    return unreachable(key, error)


def _explain_refusal(key: str, error: asyncpg.PostgresError) -> FailedStepError:
    """Return the failure with the server's text, which contains no password."""
    detail = f"{error} ({error.sqlstate})"
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        advice = f"Check user and password in {key}, and the server's pg_hba.conf."
        return FailedStepError(_AUTHENTICATION, detail, advice, Exit.CONFIGURATION)
    if isinstance(error, asyncpg.InvalidCatalogNameError | asyncpg.InsufficientPrivilegeError):
        advice = f"Create the database, or correct its name in {key}; the user needs CONNECT."
        return FailedStepError(_DATABASE, detail, advice, Exit.CONFIGURATION)
    return FailedStepError(_SESSION, detail, "Look at the server's log.", Exit.UNAVAILABLE)
