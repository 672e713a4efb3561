"""The rooms of the project: which may import which, and how large a module may be.

See docs/architecture.md.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "config": set(),
    "protos": set(),
    "runtime": set(),
    "ledger": {"protos", "runtime"},
    "indexer": {"protos", "runtime", "ledger"},
    "reconciliation": {"config", "runtime", "ledger"},
    "explorer_api": {"runtime", "ledger", "reconciliation"},
    "devnet": {"protos", "runtime", "ledger"},
    "cli": {
        *("config", "protos", "runtime", "ledger"),
        *("indexer", "reconciliation", "explorer_api", "devnet"),
    },
}
FLOORS = {
    "cli": (
        *("main", "command_line", "commands", "demo", "doctor", "audit", "assembly", "output"),
        *("configuration", "signals", "errors", "version"),
    ),
    "ledger": ("mongodb", "archive", "evidence", "documents", "decoding", "trust"),
    "indexer": (
        *("daemon", "monitoring", "audit", "agreement", "pipeline"),
        *("envelopes", "sources", "progress"),
    ),
    "explorer_api": (
        *("app", "routes", "operation_routes", "docs", "resources", "routing"),
        *("streams", "live", "http", "schemas", "options"),
    ),
}
"""Within a package a room may import the rooms after it in the list, never one before it."""

REPORTS = "reconciliation.reports"
"""The one module of reconciliation that the API may import."""

PURE = (
    *("model", "hashes", "ownership", "position"),
    *("decoding", "documents", "trust", "evidence"),
)
IMPURE = {"asyncio", "os", "time", "random", "socket", "pathlib", "pymongo", "grpc", "structlog"}

COLLECTIONS = "ledger.mongodb.collections"
COLLECTION_NAMES = {
    *("BLOCKS", "TRANSACTIONS", "EVENTS", "SYNC_STATE"),
    *("VERDICTS", "CERTIFICATES", "RAW_BLOCKS"),
}
MAY_NAME_COLLECTIONS = ("ledger/mongodb/", "cli/doctor/")
"""MongoDB is asked for the ledger in one room; the doctor compares rights on the collections."""

MAX_LINES = 330


def modules(*folders: str) -> dict[str, Path]:
    """Return the modules of the folders, or of the whole project, by their dotted names.

    Generated modules are left out.
    """
    found = {}
    for folder in folders or (*MAY_IMPORT, "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            if not path.stem.endswith("_pb2"):
                name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                found[name.removesuffix(".__init__")] = path
    return found


def imports(path: Path) -> Iterator[tuple[str, str | None]]:
    """Yield each import in a file, also in functions: the module and the name taken from it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from ((node.module, alias.name) for alias in node.names)


def imported_modules(path: Path, known: dict[str, Path]) -> set[str]:
    """Return those of the known modules that a file imports."""
    found = set()
    for module, name in imports(path):
        submodule = f"{module}.{name}"
        found.add(submodule if submodule in known else module)
    return found & known.keys()


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_one_way(package: str) -> None:
    forbidden = {*MAY_IMPORT, "tests", "benchmarks"} - MAY_IMPORT[package] - {package}
    found = {
        f"{name} imports {module}"
        for name, path in modules(package).items()
        for module, _ in imports(path)
        if module.split(".")[0] in forbidden
    }
    assert not found


@pytest.mark.parametrize("package", FLOORS)
def test_rooms_of_a_package_import_one_way(package: str) -> None:
    floor = {room: number for number, room in enumerate(FLOORS[package])}
    known = modules(package)
    found = set()
    for name, path in known.items():
        here = floor.get(name.removeprefix(f"{package}.").split(".")[0])
        for module in imported_modules(path, known):
            there = floor.get(module.removeprefix(f"{package}.").split(".")[0])
            if here is not None and there is not None and there < here:
                found.add(f"{name} imports {module}")
    assert not found


def test_no_module_imports_itself_by_way_of_others() -> None:
    known = modules()
    graph = {name: imported_modules(path, known) for name, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(error.args[1]))


def test_the_api_reads_reconciliation_through_its_reports() -> None:
    found = {
        f"{name} imports {module}"
        for name, path in modules("explorer_api").items()
        for module, _ in imports(path)
        if module.split(".")[0] == "reconciliation" and module != REPORTS
    }
    assert not found


def test_mongodb_is_asked_for_the_ledger_in_one_room() -> None:
    found = {
        f"{name} names the collection {imported}"
        for name, path in modules(*MAY_IMPORT).items()
        for module, imported in imports(path)
        if module == COLLECTIONS and imported in COLLECTION_NAMES
        if not str(path.relative_to(ROOT)).startswith(MAY_NAME_COLLECTIONS)
    }
    assert not found


def test_decoding_is_pure() -> None:
    found = {
        f"{name} imports {module}"
        for name, path in modules("ledger").items()
        if name.removeprefix("ledger.").split(".")[0] in PURE
        for module, _ in imports(path)
        if module.split(".")[0] in IMPURE
    }
    assert not found


def test_no_module_is_too_long() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert not {name: lines for name, lines in lengths.items() if lines > MAX_LINES}
