"""Generates the `*_pb2` modules from the `.proto` files; a developer's tool of the extra `dev`."""

import argparse
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PACKAGE = Path(__file__).parent


def generate(target: Path) -> None:
    """Write a module and a type stub for each `.proto` file into `target/protos`.

    Raises `RuntimeError` when protoc refuses a file; protoc has printed the reason.
    """
    sources = sorted(f"protos/{path.name}" for path in PACKAGE.glob("*.proto"))
    code = protoc.main(
        [
            "protoc",
            f"--proto_path={PACKAGE.parent}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--plugin=protoc-gen-mypy={Path(sys.executable).parent / 'protoc-gen-mypy'}",
            f"--python_out={target}",
            f"--mypy_out=quiet:{target}",
            *sources,
        ]
    )
    if code != 0:
        raise RuntimeError(f"protoc ended with {code}")


def differences() -> list[str]:
    """Return the names of the modules that differ from those that protoc generates."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        generated = {path.name: path.read_bytes() for path in (Path(folder) / "protos").iterdir()}
    committed = {path.name: path.read_bytes() for path in PACKAGE.glob("*_pb2.py*")}
    names = generated.keys() | committed.keys()
    return sorted(name for name in names if generated.get(name) != committed.get(name))


def main() -> int:
    """Generate the modules, or with `--check` print the names of those that are out of date.

    Return the exit code, which is 1 if a module is out of date.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="only compare; exit with 1 if a module is out of date"
    )
    if not parser.parse_args().check:
        generate(PACKAGE.parent)
        return 0
    outdated = differences()
    for name in outdated:
        print(
            f"protos/{name} differs from the module that the .proto files give: run `make protos`",
            file=sys.stderr,
        )
    return 1 if outdated else 0


if __name__ == "__main__":
    sys.exit(main())
