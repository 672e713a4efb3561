"""An embedded MongoDB replica set of three, to lose and to step down primaries."""

import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from devnet.servers.errors import ServerError
from devnet.servers.mongod import REPLICA_SET, MongodMember, configuration
from devnet.servers.parallel import in_parallel
from devnet.servers.server import START_TIMEOUT


class MongoReplicaSet:
    """Three mongod in the empty folder `data`; a lost primary is replaced after about two seconds.

    A context manager: started on entry, stopped on exit. Single members are stopped, killed, paused and
    started again through `members`.
    """

    def __init__(self, data: Path) -> None:
        self.members = [MongodMember(data / str(number)) for number in range(3)]
        self._initiated = False

    @property
    def uri(self) -> str:
        """The URI that names all members. Raises ServerError before the first start."""
        return f"mongodb://{','.join(member.host for member in self.members)}/?replicaSet={REPLICA_SET}"

    def start(self) -> None:
        """Start the members that do not run; return when one is primary and the others have its data.

        Raises ServerError if that fails.
        """
        if not self._initiated and any(member.data.exists() for member in self.members):
            raise ServerError(
                f"{self.members[0].data.parent} has files of another replica set, whose ports are not known any "
                "more. Give an empty folder."
            )
        try:
            in_parallel([member.start for member in self.members])
            if not self._initiated:
                self._initiate()
            self.primary()
            self._await_copies()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut all members down cleanly; nothing happens to those that do not run."""
        in_parallel([member.stop for member in self.members])

    def primary(self) -> MongodMember:
        """The member that takes writes; waits for one. Raises ServerError if a minute passes without one."""
        timeout = int(START_TIMEOUT * 1000)
        try:
            with MongoClient[dict[str, Any]](self.uri, serverSelectionTimeoutMS=timeout) as client:
                port = client.admin.command("hello")["me"].rpartition(":")[2]
        except PyMongoError as error:
            raise ServerError(
                f"The replica set has no primary after {START_TIMEOUT:.0f} s: {error}. At least two of its members "
                "must run; their logs say more: "
                + ", ".join(str(member.log) for member in self.members)
            ) from error
        return next(member for member in self.members if member.port == int(port))

    def _initiate(self) -> None:
        with MongoClient[dict[str, Any]](self.members[0].address) as client:
            client.admin.command(
                "replSetInitiate", configuration([member.host for member in self.members])
            )
        self._initiated = True

    def _await_copies(self) -> None:
        """Until a member has copied the data it has no vote, so no other member could be lost."""
        deadline = time.monotonic() + START_TIMEOUT
        for member in self.members:
            with MongoClient[dict[str, Any]](member.address) as client:
                while not {"isWritablePrimary", "secondary"} & _true(client.admin.command("hello")):
                    if time.monotonic() > deadline:
                        raise ServerError(
                            f"A member of the replica set did not copy the data within {START_TIMEOUT:.0f} s. Its "
                            f"log says why: {member.log}"
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


def _true(answer: dict[str, Any]) -> set[str]:
    return {name for name, value in answer.items() if value is True}
