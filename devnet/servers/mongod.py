"""Embedded mongod processes: a member of a replica set, and a replica set with one member."""

import time
from pathlib import Path
from typing import Any, ClassVar

from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure

from devnet.servers.errors import ServerError
from devnet.servers.programs import MONGOD, Program
from devnet.servers.server import START_TIMEOUT_S, Server, stored_secret

REPLICA_SET = "kindledger"
"""The name of every embedded replica set."""

_UNAUTHORIZED, _AUTHENTICATION_FAILED = 13, 18
_ALREADY_INITIALIZED, _NOT_YET_INITIALIZED = 23, 94


class MongodMember(Server):
    """A mongod that is not yet a member of a replica set: the caller initiates the set."""

    program: ClassVar[Program] = MONGOD
    _ready_message: ClassVar[bytes] = b"Waiting for connections"

    @property
    def address(self) -> str:
        """The URI of this member alone, without a user.

        Raises ServerError before the first start.
        """
        return f"mongodb://{self.host}/?directConnection=true"

    @property
    def host(self) -> str:
        """`127.0.0.1:PORT`, the name in the replica set.

        Raises ServerError before the first start.
        """
        return f"127.0.0.1:{self.port}"

    def _prepare(self, binary: Path, lock: int) -> Path:
        self._database.mkdir(exist_ok=True)
        return super()._prepare(binary, lock)

    def _command(self, binary: Path, port: int) -> list[str]:
        location = [
            "--dbpath",
            str(self._database),
            "--bind_ip",
            "127.0.0.1",
            "--port",
            str(port),
            "--nounixsocket",
        ]
        size = ["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "256", "--quiet"]
        diagnostics = ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        # Otherwise a primary waits 15 s for its clients to connect to another member.
        shutdown = ["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"]
        return [str(binary), *location, "--replSet", REPLICA_SET, *size, *diagnostics, *shutdown]

    @property
    def _database(self) -> Path:
        return self.data / "db"


class Mongod(MongodMember):
    """A replica set with one member, for transactions and majority writes.

    `start` returns when the server is writable. With `auth` only users may read and write; `uri`
    then contains the user `admin`, who has the role root. A later start with the same folder keeps
    the replica set, even with another port.
    """

    def __init__(
        self, data: Path, *, port: int | None = None, binary: Path | None = None, auth: bool = False
    ) -> None:
        super().__init__(data, port=port, binary=binary)
        self._auth = auth

    @property
    def uri(self) -> str:
        """`mongodb://[admin:PASSWORD@]127.0.0.1:PORT/?replicaSet=…`.

        Raises ServerError before the first start.
        """
        return f"mongodb://{self._credentials}{self.host}/?replicaSet={REPLICA_SET}"

    @property
    def address(self) -> str:
        """The same as `uri`."""
        return self.uri

    def _prepare(self, binary: Path, lock: int) -> Path:
        if self._auth:
            stored_secret(self._key_file)
        return super()._prepare(binary, lock)

    def _command(self, binary: Path, port: int) -> list[str]:
        auth = ["--auth", "--keyFile", str(self._key_file)] if self._auth else []
        return [*super()._command(binary, port), *auth]

    def _after_start(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._try_to_become_primary():
            if not self._running().running or time.monotonic() > deadline:
                raise ServerError(
                    f"mongod ended, or did not become primary within {START_TIMEOUT_S:.0f} s, so "
                    f"it refuses writes. Read its log for the reason: {self.log}"
                )
            time.sleep(0.02)

    def _try_to_become_primary(self) -> bool:
        """Configure what is missing; return whether the server is primary and has its admin.

        Each attempt opens new clients, because clients that were opened before the replica set was
        initiated do not become usable.
        """
        try:
            with _client_of("", self.host) as client:
                if not client.admin.command("hello").get("isWritablePrimary"):
                    self._configure(client)
                    return False
            if self._auth:
                self._ensure_admin()
        except AutoReconnect:
            # mongod closes its connections when its configuration has no member of its address.
            return False
        return True

    def _configure(self, client: MongoClient[dict[str, Any]]) -> None:
        """Initiate the replica set of a new folder, or correct the port of an existing one."""
        if "setName" in client.admin.command("hello"):
            return  # the election is running
        try:
            client.admin.command("replSetInitiate", replica_set_configuration([self.host]))
        except OperationFailure as error:
            # The folder is not new: its port has changed, or mongod still reads its configuration.
            # With users present, mongod refuses the command to a client without a user.
            if error.code not in {_ALREADY_INITIALIZED, _UNAUTHORIZED}:
                raise
            self._correct_port()

    def _correct_port(self) -> None:
        with _client_of(self._credentials, self.host) as client:
            try:
                config = client.admin.command("replSetGetConfig")["config"]
                if config["members"][0]["host"] == self.host:
                    return
                config["version"] += 1
                config["members"][0]["host"] = self.host
                client.admin.command("replSetReconfig", config, force=True)
            except OperationFailure as error:
                if error.code != _NOT_YET_INITIALIZED:  # mongod still reads its configuration
                    raise

    def _ensure_admin(self) -> None:
        try:
            with _client_of(self._credentials, self.host) as client:
                client.admin.command("ping")
        except OperationFailure as error:
            if error.code != _AUTHENTICATION_FAILED:
                raise
            # Without any user, MongoDB lets a local client create the first user.
            with _client_of("", self.host) as client:
                client.admin.command("createUser", "admin", pwd=self._password, roles=["root"])

    @property
    def _credentials(self) -> str:
        return f"admin:{self._password}@" if self._auth else ""

    @property
    def _password(self) -> str:
        return stored_secret(self.data / "password")

    @property
    def _key_file(self) -> Path:
        return self.data / "keyfile"


def replica_set_configuration(hosts: list[str]) -> dict[str, Any]:
    """Return a replica set configuration; a lost primary is replaced after about a second."""
    return {
        "_id": REPLICA_SET,
        "members": [{"_id": number, "host": host} for number, host in enumerate(hosts)],
        "settings": {"electionTimeoutMillis": 1000},
    }


def _client_of(credentials: str, host: str) -> MongoClient[dict[str, Any]]:
    return MongoClient(
        f"mongodb://{credentials}{host}/?directConnection=true",
        serverSelectionTimeoutMS=10_000,
        socketTimeoutMS=10_000,
    )
