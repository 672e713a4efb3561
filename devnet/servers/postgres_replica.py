"""An embedded streaming replica of an embedded PostgreSQL."""

import secrets
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from devnet.servers.postgres import Postgres


class PostgresReplica(Postgres):
    """A copy of `primary` that follows it and can only be read; user and password are the primary's.

    `primary` must run at the first start, which copies it. From then on the replica starts with or without it, and
    catches up once it is there: a replication slot keeps on the primary what the replica has not read yet.
    """

    _ready: ClassVar[bytes] = (
        b"database system is ready to accept read"  # "read only" before PostgreSQL 14
    )
    _maker: ClassVar[str] = "pg_basebackup"

    def __init__(self, data: Path, primary: Postgres, *, binary: Path | None = None) -> None:
        super().__init__(data, binary=binary)
        self._primary = primary

    @property
    def dsn(self) -> str:
        """`postgresql://postgres:PASSWORD@127.0.0.1:PORT/postgres`. Raises ServerError before the first start."""
        login = urlsplit(self._primary.dsn).netloc.rpartition("@")[0]
        return f"postgresql://{login}@127.0.0.1:{self.port}/postgres"

    def _command(self, binary: Path, port: int) -> list[str]:
        # Milliseconds between attempts to reach the primary, else five seconds.
        return [*super()._command(binary, port), "-c", "wal_retrieve_retry_interval=100"]

    def _making(self) -> list[str]:
        # The cluster remembers this file too, and reads the password from it whenever it connects.
        passwords = self._home / "pgpass"
        passwords.touch(mode=0o600)
        passwords.write_text(
            f"*:*:*:postgres:{urlsplit(self._primary.dsn).password}\n", encoding="ascii"
        )
        self._hand_over(passwords)
        source = f"host=127.0.0.1 port={self._primary.port} user=postgres passfile='{_quoted(passwords)}'"
        slot = ["--create-slot", "--slot", f"replica_{secrets.token_hex(8)}"]
        return ["--dbname", source, "--write-recovery-conf", "--checkpoint", "fast", *slot]


def _quoted(path: Path) -> str:
    """As libpq reads it between single quotes."""
    return str(path).replace("\\", r"\\").replace("'", r"\'")
