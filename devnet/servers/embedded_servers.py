"""Starts MongoDB, PostgreSQL and Redis together, for the demo and for test sessions."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from devnet.servers.errors import ProgramNotFoundError
from devnet.servers.mongod import Mongod
from devnet.servers.parallel import in_parallel
from devnet.servers.postgres import Postgres
from devnet.servers.redis import Redis
from devnet.servers.server import Server


def start_or_find(server: Server, environ: Mapping[str, str]) -> str:
    """Start `server` and return its address.

    If its program is not found, return the address in `environ` instead. Raises
    ProgramNotFoundError if both are missing, and ServerError if the server does not start.
    """
    try:
        server.start()
    except ProgramNotFoundError:
        address = environ.get(server.program.variable)
        if not address:
            raise
        return address
    return server.address


class EmbeddedServers:
    """MongoDB, PostgreSQL and Redis, started at the same time, each with a folder below `data`.

    As a context manager it starts the servers on entry and stops them on exit. `mongo_uri`,
    `postgres_dsn` and `redis_url` are empty before the start. `environ` may have the addresses of
    running servers, which replace servers whose program is not found.
    """

    def __init__(self, data: Path, environ: Mapping[str, str]) -> None:
        self._servers = (Mongod(data / "mongo"), Postgres(data / "postgres"), Redis(data / "redis"))
        self._environ = environ
        self.mongo_uri = self.postgres_dsn = self.redis_url = ""

    def start(self) -> None:
        """Start the servers. If one fails, stop the others and raise its error.

        The errors are those of `start_or_find`.
        """
        try:
            addresses = in_parallel(
                [partial(start_or_find, server, self._environ) for server in self._servers]
            )
        except BaseException:
            self.stop()
            raise
        self.mongo_uri, self.postgres_dsn, self.redis_url = addresses

    def stop(self) -> None:
        """Stop the servers that were started."""
        in_parallel([server.stop for server in self._servers])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
