"""How each kind of failure ends the command: a message for people, an exit code for supervisors."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import click
from pymongo.errors import ConfigurationError as MongoConfigurationError
from pymongo.errors import ConnectionFailure, InvalidURI, OperationFailure, PyMongoError

from indexer.block_source import SourceUnavailableError
from ledger.errors import LedgerError
from ledger.signing import IdentityError
from reconciliation.errors import ReconciliationError
from reconciliation.migrations.scripts import MigrationError
from runtime.retry import GaveUpError


class Exit(IntEnum):
    """Exit codes, after sysexits.h where it has one."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    DATA = 65
    UNAVAILABLE = 69
    RESTART = 75
    CONFIGURATION = 78
    INTERRUPTED = 130
    TERMINATED = 143


class ConfigurationError(Exception):
    """The configuration cannot be used; the message names each key and what is wrong with it."""


class PostgresUnavailableError(Exception):
    """PostgreSQL cannot be reached, or went away."""


_AUTHENTICATION_CODES = frozenset({13, 18, 8000})


@contextmanager
def exits(*, daemon: bool = False) -> Iterator[None]:
    """Ends the process with the code that fits what is raised inside; a daemon asks for a restart where it helps."""
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
    except (
        GaveUpError,
        SourceUnavailableError,
        ConnectionFailure,
        PostgresUnavailableError,
    ) as error:
        _end(
            Exit.RESTART if daemon else Exit.UNAVAILABLE,
            f"{error}. `kindledger doctor` tells which part is missing.",
        )
    except OperationFailure as error:
        if error.code in _AUTHENTICATION_CODES:
            advice = "Check user, password and roles in KINDLEDGER_MONGO__URI (config/mongo-roles.js has the roles)."
            _end(
                Exit.CONFIGURATION,
                f"MongoDB refuses: {error.details.get('errmsg') if error.details else error}. {advice}",
            )
        _end(Exit.RESTART if daemon else Exit.UNEXPECTED, f"MongoDB failed: {error}")
    except PyMongoError as error:
        _end(Exit.RESTART if daemon else Exit.UNEXPECTED, f"MongoDB failed: {error}")
    except KeyboardInterrupt:
        _end(Exit.INTERRUPTED, "interrupted")


def _end(code: Exit, message: str) -> None:
    click.echo(f"kindledger: {message}", err=True)
    raise SystemExit(code)
