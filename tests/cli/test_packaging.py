"""The files that are installed, and those that the container image is built from."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.cli.support import ROOT


def test_the_image_is_built_from_every_installed_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {pattern.removesuffix("*") for pattern in patterns}
    context = (ROOT / ".dockerignore").read_text().splitlines()
    copied = {line.removeprefix("!").split("/")[0] for line in context if line.startswith("!")}
    assert packages <= copied
    assert all((ROOT / package / "__init__.py").is_file() for package in packages)


def test_the_locks_pin_the_same_versions() -> None:
    def pinned(name: str) -> set[str]:
        lines = (ROOT / name).read_text().splitlines()
        return {line.split(" ")[0] for line in lines if "==" in line}

    everything = pinned("requirements-dev.lock")
    assert pinned("requirements.lock") < pinned("requirements-demo.lock") < everything


def test_the_program_is_installed_without_a_c_compiler(tmp_path: Path) -> None:
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "ledger" / "compiled", tmp_path / "ledger" / "compiled")
    for extension in tmp_path.rglob("*.so"):
        extension.unlink()
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"CC": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert not list(tmp_path.rglob("*.so"))


def test_make_works_from_any_folder_in_a_path_with_a_space(tmp_path: Path) -> None:
    project, elsewhere = tmp_path / "a b", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    shutil.copy(ROOT / "Makefile", project)
    for arguments in (("-C", str(project)), ("-f", str(project / "Makefile"))):
        command = ["make", *arguments, "-n", "clean"]
        output = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=True)
        assert "rm -rf .venv" in output.stdout
