"""What the tests of the commands share: an empty environment, and servers with access control, by each worker."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from cli.configuration.loading import PREFIX
from devnet.servers import Mongod, Postgres, Redis
from tests.cli.support import ROOT, Files


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine that runs the tests has configured is not theirs."""
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def guarded_mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A replica set with access control, and in it the roles and users of `config/mongo-roles.json`."""
    with Mongod(tmp_path_factory.mktemp("mongo"), auth=True) as mongod:
        definitions = json.loads((ROOT / "config" / "mongo-roles.json").read_text())
        with MongoClient[dict[str, Any]](mongod.uri) as client:
            for role in definitions["roles"]:
                client.admin.command(
                    "createRole", role["role"], privileges=role["privileges"], roles=role["roles"]
                )
            for user in definitions["users"]:
                client.admin.command(
                    "createUser", user["user"], pwd=f"{user['user']}-pw", roles=user["roles"]
                )
        yield mongod


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A member's certificates and keys."""
    return Files.enrolled(tmp_path)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken, and on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
