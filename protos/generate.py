"""Regenerates the `*_pb2` modules beside the `.proto` files (a developer's tool; needs the extra `dev`)."""

import argparse
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PACKAGE = Path(__file__).parent


def generate(target: Path) -> None:
    """Writes one module and one type stub per `.proto` file below `target/protos`.

    Raises `RuntimeError` when protoc refuses a file; protoc has printed why.
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
    """Names of the modules whose committed text is not what protoc generates now."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = {path.name: path.read_bytes() for path in (Path(folder) / "protos").iterdir()}
    committed = {path.name: path.read_bytes() for path in PACKAGE.glob("*_pb2.py*")}
    return sorted(
        name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name)
    )


def main() -> int:
    """Generates, or with `--check` exits 1 and names the modules that are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="only compare; exit 1 if one is out of date"
    )
    if not parser.parse_args().check:
        generate(PACKAGE.parent)
        return 0
    stale = differences()
    for name in stale:
        print(
            f"protos/{name} is not what the .proto files generate: run `make protos`",
            file=sys.stderr,
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
