"""Runs docs/evidence/verify.py: in this process, and in one that cannot import the project."""

import importlib.util
import json
import runpy
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cryptography

SCRIPT = Path(__file__).parents[2] / "docs" / "evidence" / "verify.py"
PROJECT = ("ledger", "protos", "runtime", "indexer", "cli", "google", "msgspec", "pymongo")
"""Packages that the script must not need: the project's, and those that the project needs."""

_RUNNER = """
import importlib.util, json, runpy, sys
packages, script, *forbidden = sys.argv[1:]
sys.path[:] = [each for each in sys.path if "site-packages" not in each] + [packages]
found = [name for name in forbidden if importlib.util.find_spec(name) is not None]
if found:
    sys.exit(f"can be imported: {found}")
verify = runpy.run_path(script)["verify"]
for line in sys.stdin:
    try:
        print(json.dumps(verify(*json.loads(line))))
    except Exception as error:
        print(json.dumps({"refused": repr(error)}))
"""


class Job(NamedTuple):
    """A bundle to verify, and the hashes that the verifier trusts, in hex."""

    file: Path
    genesis: str
    commit_hash: str | None = None

    def arguments(self) -> list[str]:
        hashes = [self.genesis] if self.commit_hash is None else [self.genesis, self.commit_hash]
        return [str(self.file), *hashes]


@cache
def script() -> dict[str, Any]:
    """Return the names that the script defines."""
    return runpy.run_path(str(SCRIPT))


def verify_in_process(job: Job) -> dict[str, Any]:
    """Return what the script prints, or its error as `refused`."""
    try:
        report: dict[str, Any] = script()["verify"](*job.arguments())
    except Exception as error:  # noqa: BLE001 - as in the script
        return {"refused": repr(error)}
    return report


def packages(folder: Path) -> Path:
    """Make a folder from which only `cryptography` and what it needs can be imported."""
    installed = Path(cryptography.__file__).parent.parent
    folder.mkdir()
    for name in ("cryptography", "cffi", "pycparser", "_cffi_backend"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            path = Path(spec.origin)
            path = path.parent if path.name == "__init__.py" else path
            assert path.parent == installed
            (folder / path.name).symlink_to(path)
    return folder


def verify_alone(jobs: Sequence[Job], folder: Path) -> list[dict[str, Any]]:
    """Return what the script prints of each bundle, in a process that has only `cryptography`."""
    only = packages(folder / "packages")
    finished = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _RUNNER, str(only), str(SCRIPT), *PROJECT],
        input="".join(f"{json.dumps(job.arguments())}\n" for job in jobs),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return [json.loads(line) for line in finished.stdout.splitlines()]
