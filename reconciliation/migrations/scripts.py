"""The migration files: NNNN_name.up.sql and NNNN_name.down.sql, numbered from 1 without a gap."""

import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files

from msgspec import Struct

_FILE_NAME = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.(?P<direction>up|down)\.sql")
_NO_TRANSACTION = "-- migrate: no transaction\n"


class MigrationError(Exception):
    """The schema cannot be used or changed. The message says why, and what to do."""


class Script(Struct, frozen=True):
    """The SQL of a migration in one direction."""

    text: str

    @property
    def transactional(self) -> bool:
        """Whether the script runs in one transaction; its first line may say that it does not."""
        return not self.text.startswith(_NO_TRANSACTION)

    @property
    def statements(self) -> list[str]:
        """The parts to execute one by one: the whole text, or each paragraph."""
        return [self.text] if self.transactional else re.split(r"\n\s*\n", self.text.strip())


class Migration(Struct, frozen=True):
    """A change of the schema, and its reversal."""

    version: int
    name: str
    up: Script
    down: Script

    @property
    def label(self) -> str:
        """The first part of the file names, for example `0003_business_indexes`."""
        return f"{self.version:04}_{self.name}"

    @property
    def checksum(self) -> str:
        """The SHA-256 of the up script in hexadecimal digits. The down script may be corrected."""
        return hashlib.sha256(self.up.text.encode()).hexdigest()


def load_migrations() -> tuple[Migration, ...]:
    """Return the migrations that are installed with this program, in order."""
    folder = files("config") / "migrations" / "postgres"
    return parse_migrations({file.name: file.read_text("utf-8") for file in folder.iterdir()})


def parse_migrations(texts: Mapping[str, str]) -> tuple[Migration, ...]:
    """Return the migrations in order, from their texts by file name.

    Raises `MigrationError` for a wrong file name, a missing script, and a gap in the numbers.
    """
    scripts: dict[tuple[int, str], dict[str, Script]] = {}
    for file_name, text in texts.items():
        match = _FILE_NAME.fullmatch(file_name)
        if match is None:
            raise MigrationError(
                f"{file_name} is no migration: its name must look like 0001_name.up.sql"
            )
        label = (int(match["version"]), match["name"])
        scripts.setdefault(label, {})[match["direction"]] = Script(text)
    migrations = []
    for expected, ((version, name), directions) in enumerate(sorted(scripts.items()), start=1):
        if version != expected or len(directions) < 2:
            raise MigrationError(
                f"{version:04}_{name}: migration {expected:04} must have one .up.sql and one "
                ".down.sql"
            )
        migrations.append(Migration(version, name, **directions))
    return tuple(migrations)
