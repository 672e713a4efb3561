"""All three servers at once, for the demo and for test sessions."""

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


def provide(server: Server, environ: Mapping[str, str]) -> str:
    """Start `server` and return its address; without its program, the address that `environ` names instead.

    Raises ProgramNotFoundError if there is neither, ServerError if the server does not start.
    """
    try:
        server.start()
    except ProgramNotFoundError:
        given = environ.get(server.program.variable)
        if not given:
            raise
        return given
    return server.address


class EmbeddedServers:
    """MongoDB, PostgreSQL and Redis, each in its own folder below `data`, started at the same time.

    A context manager: started on entry, stopped on exit. `mongo_uri`, `postgres_dsn` and `redis_url` are empty
    before the start; `environ` may name running servers for those whose program is not found.
    """

    def __init__(self, data: Path, environ: Mapping[str, str]) -> None:
        self._servers = (Mongod(data / "mongo"), Postgres(data / "postgres"), Redis(data / "redis"))
        self._environ = environ
        self.mongo_uri = self.postgres_dsn = self.redis_url = ""

    def start(self) -> None:
        """Start them. If one fails, the others are stopped and its error is raised, as by provide()."""
        try:
            addresses = in_parallel(
                [partial(provide, server, self._environ) for server in self._servers]
            )
        except BaseException:
            self.stop()
            raise
        self.mongo_uri, self.postgres_dsn, self.redis_url = addresses

    def stop(self) -> None:
        """Stop those that were started."""
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
