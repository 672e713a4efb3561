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
from devnet.servers.server import START_TIMEOUT_S, Server, stored_secret
from devnet.servers.unprivileged_folder import UNPRIVILEGED_USER, locate_cluster


class Postgres(Server):
    """A PostgreSQL cluster in UTF-8 with the database `postgres` and the superuser `postgres`.

    PostgreSQL refuses to run as root. For root the cluster belongs to the unprivileged user 65534.
    If this user cannot enter the data folder, the cluster is in another folder, to which the data
    folder has a link `home`.
    """

    program: ClassVar[Program] = POSTGRES
    _ready_message: ClassVar[bytes] = b"database system is ready to accept connections"
    _stop_signal: ClassVar[signal.Signals] = signal.SIGINT
    """The signal of a fast shutdown, which does not wait until clients disconnect."""
    _cluster_program: ClassVar[str] = "initdb"
    """The program that creates a cluster, in the same folder as `postgres`."""

    def __init__(self, data: Path, *, port: int | None = None, binary: Path | None = None) -> None:
        super().__init__(data, port=port, binary=binary)
        self._home = self.data

    @property
    def dsn(self) -> str:
        """`postgresql://postgres:PASSWORD@127.0.0.1:PORT/postgres`.

        Raises ServerError before the first start.
        """
        password = stored_secret(self._password_file)
        return f"postgresql://postgres:{password}@127.0.0.1:{self.port}/postgres"

    @property
    def address(self) -> str:
        """The same as `dsn`."""
        return self.dsn

    @property
    def _user(self) -> int | None:
        return UNPRIVILEGED_USER if os.geteuid() == 0 else None

    def _prepare(self, binary: Path, lock: int) -> Path:
        if self._user is not None:
            self._home, binary = locate_cluster(self.data, binary)
        if self._cluster.is_dir():
            # A SIGKILL leaves this file. The lock on the data folder proves that no server uses the
            # cluster, but PostgreSQL refuses to start if another process has the id in the file.
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        else:
            self._create_cluster(binary.with_name(self._cluster_program), lock)
        return binary

    def _create_cluster(self, program: Path, lock: int) -> None:
        """Create the cluster in a temporary folder, and rename the folder when it is complete."""
        if not os.access(program, os.X_OK):
            raise ProgramNotFoundError(
                f"{program} is not a program that this user can run, so no cluster can be created. "
                f"Install the package of PostgreSQL that contains {program.name}, in the version "
                f"of {program.with_name(self.program.name)}."
            )
        incomplete = self._home / "cluster.new"
        if incomplete.exists():
            shutil.rmtree(incomplete)
        incomplete.mkdir(mode=0o700)
        self._hand_over(incomplete)
        options = ["--pgdata", str(incomplete), "--no-sync", *self._cluster_options()]
        offset = self._log_size()
        process = Process([str(program), *options], log=self.log, lock=lock, user=self._user)
        if not process.wait(START_TIMEOUT_S):
            process.kill()
        if process.exit_code != 0:
            raise self._start_error(
                f"{program.name} could not create the PostgreSQL cluster", process, offset
            )
        incomplete.rename(self._cluster)

    def _cluster_options(self) -> list[str]:
        """Write the files that the cluster program reads, and return its options."""
        _require_user_name(os.geteuid() if self._user is None else self._user)
        stored_secret(self._password_file)
        self._hand_over(self._password_file)
        login = [
            "--username",
            "postgres",
            "--auth",
            "scram-sha-256",
            "--pwfile",
            str(self._password_file),
        ]
        return [*login, "--encoding", "UTF8", "--locale", "C"]

    def _hand_over(self, path: Path) -> None:
        """Make the user of the server the owner of `path`."""
        if self._user is not None:
            os.chown(path, self._user, self._user)

    def _command(self, binary: Path, port: int) -> list[str]:
        location = ["-D", str(self._cluster), "-p", str(port)]
        # With shared memory in files of the cluster, a SIGKILL leaves nothing in /dev/shm.
        settings = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "dynamic_shared_memory_type=mmap",
        ]
        return [str(binary), *location, *(word for setting in settings for word in ("-c", setting))]

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
            f"The user id {user} has no name on this machine, so PostgreSQL's initdb refuses to "
            "run. Add the user to /etc/passwd (useradd), or run as another user."
        ) from error
