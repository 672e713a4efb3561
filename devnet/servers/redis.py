"""An embedded Redis."""

from pathlib import Path
from typing import ClassVar

from devnet.servers.programs import REDIS, Program
from devnet.servers.server import Server, stored_secret


class Redis(Server):
    """A Redis with a password; its append-only file keeps acknowledged writes after a SIGKILL."""

    program: ClassVar[Program] = REDIS
    _ready_message: ClassVar[bytes] = b"Ready to accept connections"

    @property
    def url(self) -> str:
        """`redis://:PASSWORD@127.0.0.1:PORT/0`. Raises ServerError before the first start."""
        return f"redis://:{stored_secret(self._password_file)}@127.0.0.1:{self.port}/0"

    @property
    def address(self) -> str:
        """The same as `url`."""
        return self.url

    def _prepare(self, binary: Path, lock: int) -> Path:
        # The password is in a file, because every local user can read command lines.
        self._configuration.touch(mode=0o600)
        self._configuration.write_text(
            f"requirepass {stored_secret(self._password_file)}\n", encoding="ascii"
        )
        return super()._prepare(binary, lock)

    def _command(self, binary: Path, port: int) -> list[str]:
        location = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(self.data)]
        durability = ["--appendonly", "yes", "--save", ""]
        return [str(binary), str(self._configuration), *location, *durability]

    @property
    def _configuration(self) -> Path:
        return self.data / "redis.conf"

    @property
    def _password_file(self) -> Path:
        return self.data / "password"
