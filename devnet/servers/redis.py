"""An embedded Redis."""

from pathlib import Path
from typing import ClassVar

from devnet.servers.programs import REDIS, Program
from devnet.servers.server import Server, stored_secret


class Redis(Server):
    """A Redis that keeps every acknowledged write over a SIGKILL (append-only file), with a password."""

    program: ClassVar[Program] = REDIS
    _ready: ClassVar[bytes] = b"Ready to accept connections"

    @property
    def url(self) -> str:
        """`redis://:PASSWORD@127.0.0.1:PORT/0`. Raises ServerError before the first start."""
        return f"redis://:{stored_secret(self._password_file)}@127.0.0.1:{self.port}/0"

    @property
    def address(self) -> str:
        """The same as `url`."""
        return self.url

    def _prepare(self, binary: Path, lock: int) -> Path:
        # In a file, not on the command line, where every user of the machine could read the password.
        self._configuration.touch(mode=0o600)
        self._configuration.write_text(
            f"requirepass {stored_secret(self._password_file)}\n", encoding="ascii"
        )
        return super()._prepare(binary, lock)

    def _command(self, binary: Path, port: int) -> list[str]:
        place = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(self.data)]
        return [str(binary), str(self._configuration), *place, "--appendonly", "yes", "--save", ""]

    @property
    def _configuration(self) -> Path:
        return self.data / "redis.conf"

    @property
    def _password_file(self) -> Path:
        return self.data / "password"
