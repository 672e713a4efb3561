"""Embedded mongod processes: a member of a replica set, and a replica set of one."""

import time
from pathlib import Path
from typing import Any, ClassVar

from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure

from devnet.servers.errors import ServerError
from devnet.servers.programs import MONGOD, Program
from devnet.servers.server import START_TIMEOUT, Server, stored_secret

REPLICA_SET = "kindledger"
"""The name of every embedded replica set."""

_UNAUTHORIZED, _AUTHENTICATION_FAILED = 13, 18
_ALREADY_INITIALIZED, _NOT_YET_INITIALIZED = 23, 94


class MongodMember(Server):
    """A mongod with its journal on that waits to be a member of a replica set; start() does not make it one."""

    program: ClassVar[Program] = MONGOD
    _ready: ClassVar[bytes] = b"Waiting for connections"

    @property
    def address(self) -> str:
        """A URI of this member alone, without a user. Raises ServerError before the first start."""
        return f"mongodb://{self.host}/?directConnection=true"

    @property
    def host(self) -> str:
        """`127.0.0.1:PORT`, its name in the replica set. Raises ServerError before the first start."""
        return f"127.0.0.1:{self.port}"

    def _prepare(self, binary: Path, lock: int) -> Path:
        self._database.mkdir(exist_ok=True)
        return super()._prepare(binary, lock)

    def _command(self, binary: Path, port: int) -> list[str]:
        place = [
            "--dbpath",
            str(self._database),
            "--bind_ip",
            "127.0.0.1",
            "--port",
            str(port),
            "--nounixsocket",
        ]
        size = ["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "256", "--quiet"]
        lean = ["--setParameter", "diagnosticDataCollectionEnabled=false"]
        # A primary would otherwise wait 15 s for its clients to go elsewhere.
        prompt = ["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"]
        return [str(binary), *place, "--replSet", REPLICA_SET, *size, *lean, *prompt]

    @property
    def _database(self) -> Path:
        return self.data / "db"


class Mongod(MongodMember):
    """A replica set of one, so transactions and majority writes work; start() returns when it is writable.

    With `auth` only users may read and write; `uri` is then that of the user `admin`, who has the role root
    and can make others. A later start on the same folder keeps the replica set, also under another port.
    """

    def __init__(
        self, data: Path, *, port: int | None = None, binary: Path | None = None, auth: bool = False
    ) -> None:
        super().__init__(data, port=port, binary=binary)
        self._auth = auth

    @property
    def uri(self) -> str:
        """`mongodb://[admin:PASSWORD@]127.0.0.1:PORT/?replicaSet=…`. Raises ServerError before the first start."""
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

    def _settle(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self._step():
            if not self._running().running or time.monotonic() > deadline:
                raise ServerError(
                    f"mongod runs no more, or did not become primary within {START_TIMEOUT:.0f} s. "
                    f"Its log says why: {self.log}"
                )
            time.sleep(0.02)

    def _step(self) -> bool:
        """One step towards a writable primary with its admin; true when it is there.

        Each step has clients of its own: one opened before the replica set was initiated stays of no use.
        """
        try:
            with _direct("", self.host) as client:
                if not client.admin.command("hello").get("isWritablePrimary"):
                    self._configure(client)
                    return False
            if self._auth:
                self._ensure_admin()
        except (
            AutoReconnect
        ):  # it closes its connections when it finds itself absent from its configuration
            return False
        return True

    def _configure(self, client: MongoClient[dict[str, Any]]) -> None:
        """Initiate a new folder, or correct the port of one that had another."""
        if "setName" in client.admin.command("hello"):
            return  # it is electing itself
        try:
            client.admin.command("replSetInitiate", configuration([self.host]))
        except OperationFailure as error:
            # Not new: the port was another one, or the configuration is still being read. With users in place
            # it does not even say so to a client without one.
            if error.code not in {_ALREADY_INITIALIZED, _UNAUTHORIZED}:
                raise
            self._correct_port()

    def _correct_port(self) -> None:
        with _direct(self._credentials, self.host) as client:
            try:
                config = client.admin.command("replSetGetConfig")["config"]
                if config["members"][0]["host"] == self.host:
                    return
                config["version"] += 1
                config["members"][0]["host"] = self.host
                client.admin.command("replSetReconfig", config, force=True)
            except OperationFailure as error:
                if error.code != _NOT_YET_INITIALIZED:  # still reading its configuration
                    raise

    def _ensure_admin(self) -> None:
        try:
            with _direct(self._credentials, self.host) as client:
                client.admin.command("ping")
        except OperationFailure as error:
            if error.code != _AUTHENTICATION_FAILED:
                raise
            # No user yet: MongoDB lets a client on the same machine make the first one without being one.
            with _direct("", self.host) as client:
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


def configuration(hosts: list[str]) -> dict[str, Any]:
    """The replica set's configuration; a lost primary is replaced after about a second."""
    return {
        "_id": REPLICA_SET,
        "members": [{"_id": number, "host": host} for number, host in enumerate(hosts)],
        "settings": {"electionTimeoutMillis": 1000},
    }


def _direct(credentials: str, host: str) -> MongoClient[dict[str, Any]]:
    return MongoClient(
        f"mongodb://{credentials}{host}/?directConnection=true",
        serverSelectionTimeoutMS=10_000,
        socketTimeoutMS=10_000,
    )
