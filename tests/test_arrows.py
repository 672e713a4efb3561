"""The house: which package may stand on which. See docs/architecture.md."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "config": set(),
    "protos": set(),
    "ledger": {"protos"},
    "indexer": {"protos", "ledger"},
    "explorer_api": {"protos", "ledger"},
    "devnet": {"protos", "ledger"},
    "cli": {"protos", "ledger", "indexer", "explorer_api", "devnet"},
}
PURE = ("model", "hashes", "wire", "blocks", "transactions", "rwsets", "config", "policies", "lifecycle", "documents")
IMPURE = {"asyncio", "os", "time", "random", "socket", "pathlib", "pymongo", "grpc", "structlog"}


def imported(path: Path) -> set[str]:
    """Names of the top-level packages that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_run_one_way(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    forbidden = MAY_IMPORT.keys() - allowed
    found = {
        f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"
        for path in (ROOT / package).rglob("*.py")
        if (wrong := imported(path) & (forbidden | {"tests", "benchmarks"}))
    }
    assert not found


def test_decoding_is_pure() -> None:
    found = {name: wrong for name in PURE if (wrong := imported(ROOT / "ledger" / f"{name}.py") & IMPURE)}
    assert not found
