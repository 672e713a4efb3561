"""Installs and runs the Node loader, a program against which the indexer is measured.

`benchmarks/peers/node-loader/README.md` says what it does.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import click

from benchmarks.ledgers import CACHE
from benchmarks.processes import last_json_line, run_part

_PROJECT: Final = Path(__file__).parent.parent
_SOURCE: Final = _PROJECT / "benchmarks" / "peers" / "node-loader"
_INSTALLED: Final = CACHE / "node-loader"
_INSTALL_TIMEOUT_S: Final = 300.0


class NodeLoaderUnavailableError(Exception):
    """The Node loader cannot run on this machine; the message says why."""


def install_node_loader() -> None:
    """Install the loader and its packages into the cache, unless they are installed.

    Raises `NodeLoaderUnavailableError` if Node or npm is missing, or if npm fails.
    """
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        raise NodeLoaderUnavailableError(f"{' and '.join(missing)} not found; install Node.js")
    shutil.copytree(_SOURCE, _INSTALLED, dirs_exist_ok=True)
    lock, complete = (_SOURCE / "package-lock.json").read_text(), _INSTALLED / "complete"
    if not complete.exists() or complete.read_text() != lock:
        _npm_ci()
        complete.write_text(lock)


def _npm_ci() -> None:
    click.echo(f"installing packages with npm into {_INSTALLED}, once", err=True)
    options = ("--ignore-scripts", "--engine-strict", "--no-audit", "--no-fund", "--loglevel=error")
    try:
        subprocess.run(
            ["npm", "ci", *options],
            cwd=_INSTALLED,
            check=True,
            capture_output=True,
            text=True,
            timeout=_INSTALL_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        reason = f"`npm ci` did not end within {_INSTALL_TIMEOUT_S:.0f} s"
        raise NodeLoaderUnavailableError(reason) from None
    except subprocess.CalledProcessError as error:
        message = error.stderr.strip().replace("\n", "; ")[:200]
        raise NodeLoaderUnavailableError(f"`npm ci` failed: {message}") from None


def run_node_loader(*arguments: str) -> dict[str, Any]:
    """Run the installed loader with these options; return the values that it prints."""
    indexes = _INSTALLED / "indexes.json"
    indexes.write_text(json.dumps(run_part("indexes")))
    command = ["node", str(_INSTALLED / "loader.mjs"), *arguments]
    files = ["--protos", str(_PROJECT), "--indexes", str(indexes)]
    return last_json_line([*command, *files])
