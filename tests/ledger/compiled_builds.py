"""Builds the extension in a temporary folder, with other compiler flags or with a fault."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from msgspec import Struct

_ROOT = Path(__file__).parent.parent.parent
_PACKAGE = Path("ledger") / "compiled"
_FAST = ("-O0", "-w")
_SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-wrapv")


class Fault(Struct, frozen=True):
    """A wrong change of a source file: `new` stands in place of `old`, which occurs once."""

    name: str
    file: str
    old: str
    new: str

    def apply(self, package: Path) -> None:
        path = package / self.file
        text = path.read_text()
        assert text.count(self.old) == 1, f"{self.file} does not have exactly one {self.old!r}"
        path.write_text(text.replace(self.old, self.new))


def build(folder: Path, *, sanitized: bool = False, fault: Fault | None = None) -> Path:
    """Return a build of the extension in an empty folder; skip the test if there is no compiler."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    ignored = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
    shutil.copytree(_ROOT / _PACKAGE, folder / _PACKAGE, ignore=ignored)
    shutil.copy(_ROOT / "ledger" / "__init__.py", folder / "ledger")
    shutil.copy(_ROOT / "setup.py", folder)
    if fault is not None:
        fault.apply(folder / _PACKAGE)
    flags = " ".join(("-O1", "-g", "-w", *_SANITIZERS) if sanitized else _FAST)
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder,
        env={**os.environ, "CC": "gcc", "CFLAGS": flags, "LDFLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )
    builds = list((folder / _PACKAGE).glob("_blocks.*.so"))
    assert builds, f"the extension was not built:\n{done.stdout}{done.stderr}"
    return builds[0]


def check(
    extension: Path, arguments: Sequence[str], *, sanitized: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run the check program on a build of the extension."""
    return subprocess.run(
        [sys.executable, "-m", "tests.ledger.compiled_check", "--extension", extension, *arguments],
        cwd=_ROOT,
        env={**os.environ, **(_sanitizer_environment() if sanitized else {})},
        capture_output=True,
        text=True,
        check=False,
    )


@cache
def _sanitizer_environment() -> dict[str, str]:
    """Return the variables with which Python loads an extension that has sanitizers.

    PYTHONMALLOC lets the sanitizer see each object of Python as an allocation of its own. Leaks are
    not reported, because Python itself does not release all memory at its end.
    """
    libraries = [_library("libasan.so"), _library("libstdc++.so")]
    return {
        "LD_PRELOAD": ":".join(libraries),
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def _library(name: str) -> str:
    done = subprocess.run(
        ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    )
    path = done.stdout.strip()
    if not Path(path).is_absolute():  # gcc returns the name alone if it does not know the file
        pytest.skip(f"{name} is not installed")
    return path
