"""Migrations as they are written: NNNN_name.up.sql and NNNN_name.down.sql, numbered from 1 without a gap."""

import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files

from msgspec import Struct

_NAME = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.(?P<way>up|down)\.sql")
_NO_TRANSACTION = "-- migrate: no transaction\n"


class MigrationError(Exception):
    """The schema cannot be used or changed; the message says why and what to do."""


class Script(Struct, frozen=True):
    """One way of a migration."""

    text: str

    @property
    def transactional(self) -> bool:
        """Whether it runs in one transaction; its first line says so if it does not."""
        return not self.text.startswith(_NO_TRANSACTION)

    @property
    def statements(self) -> list[str]:
        """What is sent at a time: the whole, or without a transaction each paragraph."""
        return [self.text] if self.transactional else re.split(r"\n\s*\n", self.text.strip())


class Migration(Struct, frozen=True):
    """A step of the schema, both ways."""

    version: int
    name: str
    up: Script
    down: Script

    @property
    def label(self) -> str:
        """As its files are named: `0003_business_indexes`."""
        return f"{self.version:04}_{self.name}"

    @property
    def checksum(self) -> str:
        """SHA-256 of the way up, in hex. The way down may be mended later."""
        return hashlib.sha256(self.up.text.encode()).hexdigest()


def load_migrations() -> tuple[Migration, ...]:
    """The migrations that are installed with this program, in order."""
    folder = files("config") / "migrations" / "postgres"
    return parse_migrations({file.name: file.read_text("utf-8") for file in folder.iterdir()})


def parse_migrations(texts: Mapping[str, str]) -> tuple[Migration, ...]:
    """Migrations in order, from texts by file name.

    Raises `MigrationError` for a name of another form, a missing way and a gap in the numbers.
    """
    found: dict[tuple[int, str], dict[str, Script]] = {}
    for file, text in texts.items():
        match = _NAME.fullmatch(file)
        if match is None:
            raise MigrationError(
                f"{file} is no migration: its name must look like 0001_name.up.sql"
            )
        found.setdefault((int(match["version"]), match["name"]), {})[match["way"]] = Script(text)
    migrations = []
    for expected, ((version, name), ways) in enumerate(sorted(found.items()), start=1):
        if version != expected or len(ways) < 2:
            raise MigrationError(
                f"{version:04}_{name}: migration {expected:04} must have one .up.sql and one .down.sql"
            )
        migrations.append(Migration(version, name, **ways))
    return tuple(migrations)
