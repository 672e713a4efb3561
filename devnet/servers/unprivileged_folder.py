"""Finds a folder for a PostgreSQL cluster of root that an unprivileged user can enter."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from devnet.servers.errors import ServerError

UNPRIVILEGED_USER = 65534
"""The user and group id `nobody` of Linux, to run PostgreSQL unprivileged."""

_PUBLIC_FOLDERS = (Path("/var/tmp"), Path("/tmp"))  # noqa: S108 - mkdtemp makes random names
_PREFIX = "kindledger-postgres-"
_INSTALLATION, _LIBRARIES = "pgserver/pginstall", "pgserver.libs"
"""The folders of the PostgreSQL installation and of its shared libraries in the wheel."""


def locate_cluster(data: Path, binary: Path) -> tuple[Path, Path]:
    """Return the folder for the cluster of `data`, and the program to run.

    UNPRIVILEGED_USER can enter both. If `data` is closed to this user, the folder is a new folder
    below /var/tmp, which the link `data/home` names. Permissions of existing folders do not change.
    Raises ServerError if no such folder can be found.
    """
    home = _home(data)
    return home, binary if _reachable(binary) else _copied(binary, home)


def _home(data: Path) -> Path:
    link = data / "home"
    if link.is_symlink():
        if not link.exists():
            raise ServerError(
                f"The PostgreSQL cluster of {data} was in {link.readlink()}, which does not exist, "
                f"so its data is lost. Delete {data} to start with an empty cluster."
            )
        return link.resolve()
    return data if _reachable(data) or (data / "cluster").exists() else _new_home(link)


def _new_home(link: Path) -> Path:
    parent = next((path for path in _PUBLIC_FOLDERS if path.is_dir() and _reachable(path)), None)
    if parent is None:
        folders = " nor ".join(str(path) for path in (link.parent, *_PUBLIC_FOLDERS))
        raise ServerError(
            f"PostgreSQL runs as the unprivileged user {UNPRIVILEGED_USER} when root starts it, "
            f"and this user can enter neither {folders}. Give a data folder whose parents "
            "other users can enter (chmod o+x), or do not run as root."
        )
    _delete_unused(parent)
    home = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    home.chmod(0o711)
    link.symlink_to(home)
    (home / "origin").write_text(str(link))
    return home


def _delete_unused(parent: Path) -> None:
    """Delete folders made by _new_home() whose data folder was deleted, as after test runs."""
    for home in parent.glob(f"{_PREFIX}*"):
        # The folder may be incomplete, or another process may be deleting it.
        with contextlib.suppress(FileNotFoundError):
            if home.lstat().st_uid == 0 and not _in_use(home):
                shutil.rmtree(home)


def _in_use(home: Path) -> bool:
    link = Path((home / "origin").read_text())
    return link.is_symlink() and link.readlink() == home


def _copied(binary: Path, home: Path) -> Path:
    site = binary.parents[3]
    if binary != site / _INSTALLATION / "bin" / binary.name:
        raise ServerError(
            f"PostgreSQL runs as the unprivileged user {UNPRIVILEGED_USER} when root starts it, "
            f"and this user cannot run {binary}. Install PostgreSQL where other users can read it, "
            "or do not run as root."
        )
    copy = home / "site"
    if not copy.exists():
        incomplete = home / "site.new"
        shutil.rmtree(incomplete, ignore_errors=True)
        for part in (_INSTALLATION, _LIBRARIES):
            shutil.copytree(
                site / part, incomplete / part, ignore=shutil.ignore_patterns("include", "*.a")
            )
        for path in [incomplete, *incomplete.rglob("*")]:
            os.chown(path, UNPRIVILEGED_USER, UNPRIVILEGED_USER)
        incomplete.rename(copy)
    return copy / binary.relative_to(site)


def _reachable(path: Path) -> bool:
    """Return whether other users can enter all folders above `path`, and enter or run `path`."""
    real = path.resolve()
    return all(step.stat().st_mode & 0o001 for step in (real, *real.parents))
