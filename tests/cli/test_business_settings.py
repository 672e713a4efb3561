"""The settings of the business database: the mapping of its tables, and TLS."""

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from cli.assembly.postgres import primary_dsn, replica_dsns
from cli.assembly.reconciliation import configured_mapping
from cli.configuration.loading import load_settings
from cli.configuration.settings import Settings
from cli.errors import ConfigurationError
from tests.cli.configuring import mistake, write


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "tables = []",
            "reconcile.tables (KINDLEDGER_RECONCILE__TABLES): Value error, name a table",
        ),
        (
            'tables = [{name = "a", hash = "h"}, {name = "a", hash = "i"}]',
            "name each table once; these are repeated: a",
        ),
        ('tables = [{name = "a", hash = ""}]', "reconcile.tables.0.hash"),
        (
            'tables = [{name = "a"}]',
            "reconcile.tables.0.hash (KINDLEDGER_RECONCILE__TABLES__0__HASH): Field required",
        ),
        ('shema = "x"', "did you mean reconcile.schema?"),
    ],
)
def test_a_mistake_in_the_mapping_is_named(tmp_path: Path, text: str, says: str) -> None:
    assert says in mistake(write(tmp_path, f"[reconcile]\n{text}"))


def test_the_mapping_of_another_schema_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = (
        '[[reconcile.tables]]\nname = "gifts"\nhash = "tx"\nstatus = "state"\nfailed = "REJECTED"'
    )
    path = write(tmp_path, f'[reconcile]\nschema = "charity"\n{table}')
    mapping = configured_mapping(load_settings(path).reconcile)
    assert mapping.schema == "charity"
    (gifts,) = mapping.tables
    assert (gifts.columns, gifts.settled_columns) == (("id", "tx", "state"), ("state",))
    assert (gifts.pending, gifts.confirmed, gifts.failed) == ("PENDING", "CONFIRMED", "REJECTED")
    monkeypatch.setenv("KINDLEDGER_RECONCILE__SCHEMA", "other")
    assert configured_mapping(load_settings(path).reconcile).schema == "other"


def test_tls_settings_hold_for_every_server(tmp_path: Path) -> None:
    authority = write(tmp_path, "PEM", "an authority.pem")
    tls = {"tls_mode": "verify-full", "tls_ca": authority}
    replica = "postgresql://r/x?sslmode=disable&application_name=a"
    settings = Settings.model_validate(
        {"postgres": {"dsn": "postgres://p/x", "replica_dsns": [replica], **tls}}
    )
    addresses = [primary_dsn(settings.postgres), *replica_dsns(settings.postgres)]
    assert [dict(parse_qsl(urlsplit(address).query)) for address in addresses] == [
        {"sslmode": "verify-full", "sslrootcert": str(authority)},
        {"sslmode": "verify-full", "sslrootcert": str(authority), "application_name": "a"},
    ]
    authority.unlink()
    with pytest.raises(ConfigurationError, match=r"postgres\.tls_ca: .*: no such file"):
        primary_dsn(settings.postgres)
