"""Where root keeps a cluster of the user 65534, who cannot enter folders that are closed to others."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from devnet.servers.errors import ServerError

NOBODY = 65534
"""The user and group id without any rights, `nobody` on Linux."""

_SHARED = (Path("/var/tmp"), Path("/tmp"))  # noqa: S108 - the new folder has a random name, made by mkdtemp
_PREFIX = "kindledger-postgres-"
_INSTALLATION, _LIBRARIES = "pgserver/pginstall", "pgserver.libs"
"""Where the archive that ships PostgreSQL has it, and the libraries that its programs look for beside it."""


def arrange(data: Path, binary: Path) -> tuple[Path, Path]:
    """The folder that holds the cluster of `data`, and the program to run on it, both within NOBODY's reach.

    A folder of its own below /var/tmp is made if need be, and found again through the link `data/home`. No
    permission of an existing folder is changed. Raises ServerError if there is no way.
    """
    home = _home(data)
    return home, binary if _reachable(binary) else _copied(binary, home)


def _home(data: Path) -> Path:
    link = data / "home"
    if link.is_symlink():
        if not link.exists():
            raise ServerError(
                f"The PostgreSQL cluster of {data} was in {link.readlink()}, which is gone. Delete {data} to "
                "begin with an empty one."
            )
        return link.resolve()
    return data if _reachable(data) or (data / "cluster").exists() else _elsewhere(link)


def _elsewhere(link: Path) -> Path:
    parent = next((path for path in _SHARED if path.is_dir() and _reachable(path)), None)
    if parent is None:
        folders = " nor ".join(str(path) for path in (link.parent, *_SHARED))
        raise ServerError(
            f"The user {NOBODY}, who runs PostgreSQL for root, can enter neither {folders}. Give a data folder "
            "whose parents are open to others (chmod o+x), or do not run as root."
        )
    _sweep(parent)
    home = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    home.chmod(0o711)
    link.symlink_to(home)
    (home / "origin").write_text(str(link))
    return home


def _sweep(parent: Path) -> None:
    """Delete the folders made by _elsewhere() whose data folder is gone, such as those of earlier test runs."""
    for home in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(
            FileNotFoundError
        ):  # not finished yet, or being swept by another process too
            if home.lstat().st_uid == 0 and not _in_use(home):
                shutil.rmtree(home)


def _in_use(home: Path) -> bool:
    link = Path((home / "origin").read_text())
    return link.is_symlink() and link.readlink() == home


def _copied(binary: Path, home: Path) -> Path:
    site = binary.parents[3]
    if binary != site / _INSTALLATION / "bin" / binary.name:
        raise ServerError(
            f"The user {NOBODY}, who runs PostgreSQL for root, cannot run {binary}. Install PostgreSQL where "
            "others can read it, or do not run as root."
        )
    copy = home / "site"
    if not copy.exists():
        fresh = home / "site.new"
        shutil.rmtree(fresh, ignore_errors=True)
        for part in (_INSTALLATION, _LIBRARIES):
            shutil.copytree(
                site / part, fresh / part, ignore=shutil.ignore_patterns("include", "*.a")
            )
        for path in [fresh, *fresh.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        fresh.rename(copy)
    return copy / binary.relative_to(site)


def _reachable(path: Path) -> bool:
    """Whether others can enter every folder above `path`, and `path` itself (run it, if it is a program)."""
    real = path.resolve()
    return all(step.stat().st_mode & 0o001 for step in (real, *real.parents))
