"""PostgreSQL: one attempt to connect, and what it says about each step."""

import asyncio
import socket
import ssl

import asyncpg

from cli.doctor.checks import Check, Details, FailedStepError, configured, run_part, skipped
from cli.doctor.network import DNS, TCP, unreachable
from cli.errors import Exit
from cli.redaction import redact_uri, unusable_address
from cli.settings import PostgresSettings

_ADDRESS, _SESSION, _AUTHENTICATION, _DATABASE = "address", "session", "authentication", "database"


async def check_postgresql(settings: PostgresSettings, limit_s: float) -> list[Check]:
    """Address, name, port, session (TLS, free connections), login and database, told apart."""
    if settings.dsn is None and settings.dsn_file is None:
        return [skipped("postgresql", "not configured: reconciliation is off (postgres.dsn)")]

    async def probe(details: Details) -> None:
        with configured(_ADDRESS, "Correct postgres.dsn_file."):
            dsn = settings.reveal() or ""
        details |= {_ADDRESS: redact_uri(dsn), DNS: "the name is known", TCP: "accepts connections"}
        details |= {_SESSION: "begun", _AUTHENTICATION: "accepted", _DATABASE: "opened"}
        details[_SESSION] = f"PostgreSQL {await _server_version(dsn, limit_s)}"

    return await run_part("postgresql", (_ADDRESS, DNS, TCP, _SESSION, _AUTHENTICATION, _DATABASE), probe)


async def _server_version(dsn: str, limit_s: float) -> str:
    """Connects, and closes the connection."""
    try:
        async with asyncio.timeout(limit_s):
            connection = await asyncpg.connect(dsn)
    except TimeoutError as error:
        advice = "Check the address, and the firewalls between; if they are right, the server hangs."
        raise FailedStepError(TCP, f"no answer within {limit_s:g} s", advice, Exit.UNAVAILABLE) from error
    except OSError as error:
        raise _unreached(error) from error
    except asyncpg.PostgresError as error:
        raise _refused(error) from error
    except (asyncpg.InterfaceError, ValueError) as error:
        advice = "Write it as postgresql://user:password@host:5432/database."
        raise FailedStepError(_ADDRESS, unusable_address(dsn, error), advice, Exit.CONFIGURATION) from error
    connection.terminate()
    version = connection.get_server_version()
    return f"{version.major}.{version.micro}"


def _unreached(error: OSError) -> FailedStepError:
    if isinstance(error, socket.gaierror):
        advice = "Check the host in postgres.dsn; if it is right, check this machine's DNS servers and /etc/hosts."
        return FailedStepError(DNS, str(error.strerror), advice, Exit.CONFIGURATION)
    if isinstance(error, ssl.SSLError) or (isinstance(error, ConnectionError) and error.errno is None):
        advice = "Check the port, and sslmode and sslrootcert in postgres.dsn."
        return FailedStepError(_SESSION, str(error), advice, Exit.CONFIGURATION)
    return unreachable("postgres.dsn", error)


def _refused(error: asyncpg.PostgresError) -> FailedStepError:
    """The server's own words, which name the user and the database but no password."""
    detail = f"{error} ({error.sqlstate})"
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        advice = "Check user and password in postgres.dsn, and the server's pg_hba.conf."
        return FailedStepError(_AUTHENTICATION, detail, advice, Exit.CONFIGURATION)
    if isinstance(error, asyncpg.InvalidCatalogNameError | asyncpg.InsufficientPrivilegeError):
        advice = "Create the database or name the right one in postgres.dsn; the user needs CONNECT on it."
        return FailedStepError(_DATABASE, detail, advice, Exit.CONFIGURATION)
    return FailedStepError(_SESSION, detail, "Look at the server's log.", Exit.UNAVAILABLE)
