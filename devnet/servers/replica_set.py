"""An embedded MongoDB replica set with three members, for tests that lose the primary."""

import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from devnet.servers.errors import ServerError
from devnet.servers.mongod import REPLICA_SET, MongodMember, replica_set_configuration
from devnet.servers.parallel import in_parallel
from devnet.servers.server import START_TIMEOUT_S


class MongoReplicaSet:
    """Three mongod in the empty folder `data`; a lost primary is replaced after about two seconds.

    As a context manager it starts on entry and stops on exit. Use `members` to stop, kill, pause
    and restart single members.
    """

    def __init__(self, data: Path) -> None:
        self.members = [MongodMember(data / str(number)) for number in range(3)]
        self._initiated = False

    @property
    def uri(self) -> str:
        """The URI with all members. Raises ServerError before the first start."""
        hosts = ",".join(member.host for member in self.members)
        return f"mongodb://{hosts}/?replicaSet={REPLICA_SET}"

    def start(self) -> None:
        """Start the members that do not run.

        Return when one member is primary and the others have its data. Raises ServerError if that
        fails.
        """
        if not self._initiated and any(member.data.exists() for member in self.members):
            raise ServerError(
                f"{self.members[0].data.parent} has files of an earlier replica set, whose ports "
                "are unknown, so the members cannot find each other. Give an empty folder."
            )
        try:
            in_parallel([member.start for member in self.members])
            if not self._initiated:
                self._initiate()
            self.primary()
            self._wait_for_copies()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut down all running members cleanly."""
        in_parallel([member.stop for member in self.members])

    def primary(self) -> MongodMember:
        """Wait for a primary and return it. Raises ServerError if there is none within a minute."""
        timeout = int(START_TIMEOUT_S * 1000)
        try:
            with MongoClient[dict[str, Any]](self.uri, serverSelectionTimeoutMS=timeout) as client:
                port = client.admin.command("hello")["me"].rpartition(":")[2]
        except PyMongoError as error:
            raise ServerError(
                f"The replica set has no primary after {START_TIMEOUT_S:.0f} s, so it refuses "
                f"writes: {error}. At least two members must run. Read their logs: "
                + ", ".join(str(member.log) for member in self.members)
            ) from error
        return next(member for member in self.members if member.port == int(port))

    def _initiate(self) -> None:
        with MongoClient[dict[str, Any]](self.members[0].address) as client:
            client.admin.command(
                "replSetInitiate",
                replica_set_configuration([member.host for member in self.members]),
            )
        self._initiated = True

    def _wait_for_copies(self) -> None:
        """Wait until each member has the data: before that it has no vote in an election."""
        deadline = time.monotonic() + START_TIMEOUT_S
        for member in self.members:
            with MongoClient[dict[str, Any]](member.address) as client:
                while not {"isWritablePrimary", "secondary"} & _true_fields(
                    client.admin.command("hello")
                ):
                    if time.monotonic() > deadline:
                        raise ServerError(
                            "A member of the replica set did not copy the data within "
                            f"{START_TIMEOUT_S:.0f} s, so the set is not complete. Read its log "
                            f"for the reason: {member.log}"
                        )
                    time.sleep(0.05)

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


def _true_fields(response: dict[str, Any]) -> set[str]:
    return {name for name, value in response.items() if value is True}
