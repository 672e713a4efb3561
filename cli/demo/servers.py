"""Starts the demo's servers, and turns their failures into errors of the command."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.errors import ConfigurationError, UnavailableError
from devnet.servers import EmbeddedServers, Mongod, ProgramNotFoundError, ServerError


@contextmanager
def embedded_servers(folder: Path) -> Iterator[EmbeddedServers]:
    """Run MongoDB, PostgreSQL and Redis while the context lasts, with their data in the folder.

    Raises `ConfigurationError` if the program of a server is not installed, and `UnavailableError`
    if a server does not start.
    """
    with _server_failures(), EmbeddedServers(folder, os.environ) as servers:
        yield servers


@contextmanager
def embedded_mongodb(folder: Path) -> Iterator[Mongod]:
    """Run MongoDB while the context lasts. Raises the same errors as `embedded_servers`."""
    with _server_failures(), Mongod(folder) as mongod:
        yield mongod


@contextmanager
def _server_failures() -> Iterator[None]:
    try:
        yield
    except ProgramNotFoundError as error:
        raise ConfigurationError(str(error)) from error
    except ServerError as error:
        raise UnavailableError(str(error)) from error
