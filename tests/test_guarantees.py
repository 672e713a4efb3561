"""The page docs/guarantees.md names only test files and functions that exist."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
GUARANTEES = (TESTS.parent / "docs" / "guarantees.md").read_text()
NAMED_FILES = sorted(set(re.findall(r"`((?:\w+/)*\w+\.py)`", GUARANTEES)))
NAMED_FUNCTIONS = sorted(set(re.findall(r"`((?:test|assert|expected)_\w+)`", GUARANTEES)))
PROMISES = [
    line for line in GUARANTEES.splitlines() if re.match(r"\| (?!promise|\| promise|---)", line)
]


def functions(path: Path) -> set[str]:
    """Return the names of all functions and methods of a module."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)}


def test_the_page_names_tests() -> None:
    assert len(NAMED_FILES) > 40
    assert len(NAMED_FUNCTIONS) > 5
    assert len(PROMISES) > 30


@pytest.mark.parametrize("name", NAMED_FILES)
def test_a_named_test_file_exists(name: str) -> None:
    path = TESTS.parent / name if name.startswith("tests/") else TESTS / name
    assert path.is_file()


@pytest.mark.parametrize("name", NAMED_FUNCTIONS)
def test_a_named_function_exists(name: str) -> None:
    assert any(name in functions(path) for path in TESTS.rglob("*.py"))


def test_each_promise_names_a_test() -> None:
    named = re.compile(r"`(?:(?:\w+/)*test_\w+\.py|assert_\w+)`")
    assert [promise for promise in PROMISES if not named.search(promise)] == []


def test_a_named_test_is_in_a_file_of_the_same_promise() -> None:
    for promise in PROMISES:
        files = [TESTS / name for name in re.findall(r"`((?:\w+/)*\w+\.py)`", promise)]
        named = set(re.findall(r"`(test_\w+)`", promise))
        assert named <= {name for path in files for name in functions(path)}, promise
