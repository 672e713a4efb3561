"""Passwords and tokens: where they come from, and that they are never shown."""

import json
import re
from pathlib import Path

import pytest

from cli.assembly.mongo import mongo_client
from cli.assembly.postgres import primary_dsn
from cli.configuration.redaction import redact_uri
from cli.configuration.settings import Settings
from cli.errors import ConfigurationError, exit_on_failure
from tests.cli.configuring import write
from tests.cli.support import Json, kindledger


def test_addresses_can_come_from_files_and_are_never_shown(tmp_path: Path) -> None:
    secret = write(tmp_path, "mongodb://u:hunter2@h:1/?replicaSet=r\n", "uri")
    settings = {
        "mongo": {
            "uri_file": secret,
            "uri": "mongodb://v:hunter2@h/?tlsCertificateKeyFilePassword=hunter2",
            "repair_uri": "mongodb://w:hunter2@h/",
        },
        "postgres": {"dsn": "postgresql://h/d?user=u&password=hunter2"},
        "redis": {"url": "redis://:hunter2@h:6379/0"},
    }
    assert (
        Settings.model_validate(settings).mongo.reveal() == "mongodb://u:hunter2@h:1/?replicaSet=r"
    )
    result = kindledger("config", "show", "--json", settings=settings)
    assert (result.returncode, result.stderr, "hunter2" in result.stdout) == (0, "", False)
    shown: Json = json.loads(result.stdout)
    assert shown["mongo"] == {
        "uri": "mongodb://v:***@h/?tlsCertificateKeyFilePassword=***",
        "uri_file": str(secret),
        "repair_uri": "mongodb://w:***@h/",
        "repair_uri_file": None,
        "timeout_s": 30.0,
    }
    assert shown["postgres"]["dsn"] == "postgresql://h/d?user=u&password=***"
    assert shown["redis"]["url"] == "redis://:***@h:6379/0"


@pytest.mark.parametrize(
    "address",
    ["u:hunter2@h", "hunter2", "x://u:hunter2@h@i", "x://u:hunter2/2?3@h", "x://u:a@hunter2@h?a=b"],
)
def test_a_malformed_address_does_not_reveal_its_password(address: str) -> None:
    assert "hunter2" not in redact_uri(address)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        (None, "not set"),
        ("mongodb://u:p@h:hunter2/", "Port contains non-digit characters"),
        ("mongodb://u:p/hunter2@h/", "percent-encoded"),
        ("mongodb://u:p?HUNTER2=p@h/", "percent-encoded"),
        (
            "mongodb://u:hunter2@h/?replcaSet=rs0",
            "Unknown option: replcaset. Did you mean one of (replicaset,",
        ),
        ("mongodb://u:hunter2@h,i/?directConnection=true", "multiple hosts"),
        ("http://u:hunter2@h/", "must begin with 'mongodb://'"),
    ],
)
@pytest.mark.filterwarnings("default")
async def test_an_unusable_mongodb_address_exits_78_and_does_not_reveal_its_password(
    uri: str | None, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, exit_on_failure():
        async with mongo_client(Settings.model_validate({"mongo": {"uri": uri}})):
            pass
    shown = capsys.readouterr().err
    assert (ended.value.code, "hunter2" in shown) == (78, False)
    assert "KINDLEDGER_MONGO__URI" in shown
    assert says in shown


@pytest.mark.parametrize(
    ("dsn", "says"),
    [
        ("mysql://u:hunter2@h/x", "write it as postgresql://"),
        ("postgresql://u:hunter2/3@h/x", "must be percent-encoded"),
        ("postgresql://u:hunter2#3@h/x", "must be percent-encoded"),
        ("postgresql://u:hunter2@[::1/x", "Invalid IPv6"),
        ("postgresql://u:hunter2@h/x?sslmode", "bad query field"),
    ],
)
def test_an_unusable_postgresql_address_does_not_reveal_its_password(dsn: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=f"postgres.dsn: .*{re.escape(says)}") as raised:
        primary_dsn(Settings.model_validate({"postgres": {"dsn": dsn}}).postgres)
    assert "hunter2" not in str(raised.value)
