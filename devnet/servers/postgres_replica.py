"""An embedded streaming replica of an embedded PostgreSQL."""

import secrets
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from devnet.servers.postgres import Postgres


class PostgresReplica(Postgres):
    """A read-only streaming replica of `primary`, with the same user and password.

    `primary` must run at the first start, which copies it. Later the replica starts without the
    primary too, and catches up when the primary is available: a replication slot on the primary
    keeps the log that the replica has not read yet.
    """

    # "read only" before PostgreSQL 14, "read-only" since then.
    _ready_message: ClassVar[bytes] = b"database system is ready to accept read"
    _cluster_program: ClassVar[str] = "pg_basebackup"

    def __init__(self, data: Path, primary: Postgres, *, binary: Path | None = None) -> None:
        super().__init__(data, binary=binary)
        self._primary = primary

    @property
    def dsn(self) -> str:
        """`postgresql://postgres:PASSWORD@127.0.0.1:PORT/postgres`.

        Raises ServerError before the first start.
        """
        login = urlsplit(self._primary.dsn).netloc.rpartition("@")[0]
        return f"postgresql://{login}@127.0.0.1:{self.port}/postgres"

    def _command(self, binary: Path, port: int) -> list[str]:
        # The interval of connection attempts to the primary in milliseconds; the default is 5 s.
        return [*super()._command(binary, port), "-c", "wal_retrieve_retry_interval=100"]

    def _cluster_options(self) -> list[str]:
        # The replica also reads the password from this file when it connects to the primary.
        passwords = self._home / "pgpass"
        passwords.touch(mode=0o600)
        passwords.write_text(
            f"*:*:*:postgres:{urlsplit(self._primary.dsn).password}\n", encoding="ascii"
        )
        self._hand_over(passwords)
        source = (
            f"host=127.0.0.1 port={self._primary.port} user=postgres "
            f"passfile='{_escape(passwords)}'"
        )
        slot = ["--create-slot", "--slot", f"replica_{secrets.token_hex(8)}"]
        return ["--dbname", source, "--write-recovery-conf", "--checkpoint", "fast", *slot]


def _escape(path: Path) -> str:
    """Return the path escaped for single quotes in a connection string of libpq."""
    return str(path).replace("\\", r"\\").replace("'", r"\'")
