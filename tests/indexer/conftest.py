from pathlib import Path

import pytest

from tests.indexer.network import Client


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A client of the forged network."""
    return Client.enrolled(tmp_path / "client")
