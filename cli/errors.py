"""The errors of the commands, and the exit code of each kind of failure."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final, NoReturn

import click
from bson.errors import BSONError
from pymongo.errors import ConfigurationError as MongoConfigurationError
from pymongo.errors import ConnectionFailure, InvalidURI, OperationFailure, PyMongoError

from indexer.sources.block_source import SourceUnavailableError
from ledger.errors import ArchiveInUseError, ArchiveUnavailableError, LedgerError
from ledger.signing import IdentityError
from reconciliation.errors import ReconciliationError
from reconciliation.migrations.scripts import MigrationError
from runtime.retry import GaveUpError


class Exit(IntEnum):
    """The exit codes; those of sysexits.h where it defines a fitting one."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    DATA = 65
    UNAVAILABLE = 69
    RESTART = 75
    CONFIGURATION = 78
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class ConfigurationError(Exception):
    """The configuration cannot be used; the message names each key and what is wrong with it."""


class UnavailableError(Exception):
    """A server or a folder that the command needs is not available."""


class PostgresUnavailableError(UnavailableError):
    """PostgreSQL cannot be reached, or closed the connection."""


REFUSED: Final = frozenset({13, 18, 8000})
"""MongoDB's error codes for a refused login and a missing right."""


@contextmanager
def exit_on_failure(*, daemon: bool = False) -> Iterator[None]:
    """Print a failure of the block inside and end the process with its exit code.

    A failure that a restart can cure ends a daemon with `RESTART`, and any other command with
    `UNAVAILABLE`.
    """
    try:
        yield
    except (
        ConfigurationError,
        MigrationError,
        ReconciliationError,
        IdentityError,
        MongoConfigurationError,
        InvalidURI,
    ) as error:
        _end(Exit.CONFIGURATION, str(error))
    except LedgerError as error:
        _end(Exit.DATA, str(error))
    except BSONError as error:
        _end(
            Exit.DATA,
            f"a stored document cannot be read, because it was changed: {error}. Run `kindledger "
            "verify`, which names the block.",
        )
    except (
        GaveUpError,
        SourceUnavailableError,
        ConnectionFailure,
        PostgresUnavailableError,
    ) as error:
        message = f"{error}. `kindledger doctor` shows which server is unavailable."
        _end(Exit.RESTART if daemon else Exit.UNAVAILABLE, message)
    except (UnavailableError, ArchiveUnavailableError, ArchiveInUseError) as error:
        _end(Exit.UNAVAILABLE, str(error))
    except PyMongoError as error:
        if isinstance(error, OperationFailure) and error.code in REFUSED:
            _end(Exit.CONFIGURATION, refused_by_mongodb(error, "mongo.uri (KINDLEDGER_MONGO__URI)"))
        _end(Exit.RESTART if daemon else Exit.UNEXPECTED, f"MongoDB failed: {error}")
    except KeyboardInterrupt:
        _end(Exit.INTERRUPTED, "interrupted")


def refused_by_mongodb(error: OperationFailure, key: str) -> str:
    """Return what MongoDB says of a refused login or a missing right, with the address's key."""
    reason = error.details.get("errmsg") if error.details else error
    return (
        f"MongoDB refuses: {reason}. Check user, password and roles in {key} "
        "(config/mongo-roles.js defines the roles)."
    )


def _end(code: Exit, message: str) -> NoReturn:
    click.echo(f"kindledger: {message}", err=True)
    raise SystemExit(code)
