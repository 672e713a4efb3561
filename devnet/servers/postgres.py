"""An embedded PostgreSQL."""

import os
import pwd
import shutil
import signal
from pathlib import Path
from typing import ClassVar

from devnet.servers.errors import ProgramNotFoundError, ServerError
from devnet.servers.process import Process
from devnet.servers.programs import POSTGRES, Program
from devnet.servers.server import START_TIMEOUT, Server, stored_secret
from devnet.servers.unprivileged_folder import NOBODY, arrange


class Postgres(Server):
    """A PostgreSQL cluster with the superuser `postgres`, a password and the database `postgres`, in UTF-8.

    PostgreSQL refuses to run as root: root's cluster belongs to the user 65534, and lies elsewhere if that
    user cannot reach the data folder, which then has a link `home` to it.
    """

    program: ClassVar[Program] = POSTGRES
    _ready: ClassVar[bytes] = b"database system is ready to accept connections"
    _stop_signal: ClassVar[signal.Signals] = (
        signal.SIGINT
    )  # "fast": does not wait for clients to leave
    _maker: ClassVar[str] = "initdb"
    """The program, beside `postgres`, that makes a cluster."""

    def __init__(self, data: Path, *, port: int | None = None, binary: Path | None = None) -> None:
        super().__init__(data, port=port, binary=binary)
        self._home = self.data

    @property
    def dsn(self) -> str:
        """`postgresql://postgres:PASSWORD@127.0.0.1:PORT/postgres`. Raises ServerError before the first start."""
        return f"postgresql://postgres:{stored_secret(self._password_file)}@127.0.0.1:{self.port}/postgres"

    @property
    def address(self) -> str:
        """The same as `dsn`."""
        return self.dsn

    @property
    def _user(self) -> int | None:
        return NOBODY if os.geteuid() == 0 else None

    def _prepare(self, binary: Path, lock: int) -> Path:
        if self._user is not None:
            self._home, binary = arrange(self.data, binary)
        if self._cluster.is_dir():
            # Left behind by a SIGKILL. The lock on the data folder proves that nobody runs on it, while
            # PostgreSQL would refuse if the process id in it belonged to another process by now.
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        else:
            self._make_cluster(binary.with_name(self._maker), lock)
        return binary

    def _make_cluster(self, maker: Path, lock: int) -> None:
        """Make the cluster beside its place and move it there when it is complete."""
        if not os.access(maker, os.X_OK):
            raise ProgramNotFoundError(
                f"{maker} is not a program that this user can run, and a new cluster needs it. Install the package of "
                f"PostgreSQL that has {maker.name}, in the version of {maker.with_name(self.program.name)}."
            )
        fresh = self._home / "cluster.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        self._hand_over(fresh)
        options = ["--pgdata", str(fresh), "--no-sync", *self._making()]
        offset = self._log_size()
        process = Process([str(maker), *options], log=self.log, lock=lock, user=self._user)
        if not process.wait(START_TIMEOUT):
            process.kill()
        if process.exit_code != 0:
            raise self._failed(
                f"{maker.name} could not make the PostgreSQL cluster", process, offset
            )
        fresh.rename(self._cluster)

    def _making(self) -> list[str]:
        """What the program that makes the cluster is told; writes the files that it reads."""
        _require_user_name(os.geteuid() if self._user is None else self._user)
        stored_secret(self._password_file)
        self._hand_over(self._password_file)
        who = [
            "--username",
            "postgres",
            "--auth",
            "scram-sha-256",
            "--pwfile",
            str(self._password_file),
        ]
        return [*who, "--encoding", "UTF8", "--locale", "C"]

    def _hand_over(self, path: Path) -> None:
        """Make `path` belong to the user that the server runs as."""
        if self._user is not None:
            os.chown(path, self._user, self._user)

    def _command(self, binary: Path, port: int) -> list[str]:
        place = ["-D", str(self._cluster), "-p", str(port)]
        # Shared memory in files of the cluster: none is left in /dev/shm by a SIGKILL.
        settings = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "dynamic_shared_memory_type=mmap",
        ]
        return [str(binary), *place, *(word for setting in settings for word in ("-c", setting))]

    @property
    def _cluster(self) -> Path:
        return self._home / "cluster"

    @property
    def _password_file(self) -> Path:
        return self._home / "password"


def _require_user_name(user: int) -> None:
    try:
        pwd.getpwuid(user)
    except KeyError as error:
        raise ServerError(
            f"The user id {user} has no name on this machine, and PostgreSQL's initdb refuses to run without. Add "
            "the user to /etc/passwd (useradd), or run as another user."
        ) from error
