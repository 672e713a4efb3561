"""Settings as an operator meets them: secrets, servers, connection profiles, identities, and mistakes in each."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from cli.assembly.daemon import run_daemon
from cli.assembly.mongo import mongo_client
from cli.assembly.network import endpoints, peer_sources
from cli.assembly.postgres import primary_dsn, replica_dsns
from cli.assembly.reconciliation import mapping_of
from cli.configuration.loading import load_settings
from cli.configuration.redaction import redact_uri
from cli.configuration.settings import FabricSettings, Settings
from cli.errors import ConfigurationError, exit_on_failure
from ledger.signing import IdentityError
from tests.cli.configuring import mistake, write
from tests.cli.support import SERVER, TLS_AUTHORITY, Files, Json, kindledger

# --- secrets ----------------------------------------------------------------------------------------------------------


def test_addresses_come_from_files_too_and_never_show(tmp_path: Path) -> None:
    secret = write(tmp_path, "mongodb://u:hunter2@h:1/?replicaSet=r\n", "uri")
    settings = {
        "mongo": {
            "uri_file": secret,
            "uri": "mongodb://v:hunter2@h/?tlsCertificateKeyFilePassword=hunter2",
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
        "timeout_s": 30.0,
    }
    assert shown["postgres"]["dsn"] == "postgresql://h/d?user=u&password=***"
    assert shown["redis"]["url"] == "redis://:***@h:6379/0"


@pytest.mark.parametrize(
    "address",
    ["u:hunter2@h", "hunter2", "x://u:hunter2@h@i", "x://u:hunter2/2?3@h", "x://u:a@hunter2@h?a=b"],
)
def test_a_malformed_address_does_not_give_its_password_away(address: str) -> None:
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
async def test_an_unusable_mongodb_address_ends_with_78_and_keeps_its_password(
    uri: str | None, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, exit_on_failure():
        async with mongo_client(Settings.model_validate({"mongo": {"uri": uri}})):
            pass
    shown = capsys.readouterr().err
    assert (ended.value.code, "hunter2" in shown) == (78, False)
    assert "KINDLEDGER_MONGO__URI" in shown
    assert says in shown


# --- the business database --------------------------------------------------------------------------------------------


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
def test_a_mapping_that_cannot_be_meant(tmp_path: Path, text: str, says: str) -> None:
    assert says in mistake(write(tmp_path, f"[reconcile]\n{text}"))


def test_a_mapping_of_another_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = (
        '[[reconcile.tables]]\nname = "gifts"\nhash = "tx"\nstatus = "state"\nfailed = "REJECTED"'
    )
    path = write(tmp_path, f'[reconcile]\nschema = "charity"\n{table}')
    mapping = mapping_of(load_settings(path).reconcile)
    assert mapping.schema == "charity"
    (gifts,) = mapping.tables
    assert (gifts.columns, gifts.settled_columns) == (("id", "tx", "state"), ("state",))
    assert (gifts.pending, gifts.confirmed, gifts.failed) == ("PENDING", "CONFIRMED", "REJECTED")
    monkeypatch.setenv("KINDLEDGER_RECONCILE__SCHEMA", "other")
    assert mapping_of(load_settings(path).reconcile).schema == "other"


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
def test_an_unusable_postgresql_address_keeps_its_password(dsn: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=f"postgres.dsn: .*{re.escape(says)}") as raised:
        primary_dsn(Settings.model_validate({"postgres": {"dsn": dsn}}).postgres)
    assert "hunter2" not in str(raised.value)


# --- the Fabric network -----------------------------------------------------------------------------------------------

PROFILE: Json = {
    "name": "kindledger",
    "channels": {
        "kindledger": {"peers": {"second": {}, "third": {"ledgerQuery": False}, "first": None}}
    },
    "peers": {
        "first": {"url": "grpcs://first:7051", "tlsCACerts": {"path": "tls/ca.pem"}},
        "second": {
            "url": "grpcs://localhost:9051",
            "tlsCACerts": {"pem": TLS_AUTHORITY.certificate.decode()},
            "grpcOptions": {
                "ssl-target-name-override": "peer0.org2",
                "hostnameOverride": "peer0.org2",
            },
        },
        "third": {"url": "grpc://third:7051"},
    },
}


def as_yaml(value: Any, indent: str = "") -> str:
    """Enough of YAML for a connection profile."""
    lines = ""
    for key, item in value.items():
        if isinstance(item, dict) and item:
            lines += f"{indent}{key}:\n{as_yaml(item, indent + '  ')}"
        elif isinstance(item, str) and "\n" in item:
            lines += f"{indent}{key}: |\n" + "".join(
                f"{indent}  {line}\n" for line in item.splitlines()
            )
        else:
            lines += f"{indent}{key}: {json.dumps(item)}\n"
    return lines


@pytest.mark.parametrize("name", ["connection.yaml", "connection.json"])
def test_a_connection_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "ca.pem").write_bytes(TLS_AUTHORITY.certificate)
    profile = write(
        tmp_path, json.dumps(PROFILE) if name.endswith("json") else as_yaml(PROFILE), name
    )
    monkeypatch.chdir("/")
    settings = FabricSettings(connection_profile=profile)
    second, first = endpoints(settings, "kindledger")
    assert (second.address, second.tls_name) == ("localhost:9051", "peer0.org2")
    assert isinstance(second.tls_ca, bytes)
    assert second.tls_ca.strip() == TLS_AUTHORITY.certificate.strip()
    assert (first.address, first.tls_ca, first.tls_name) == (
        "first:7051",
        tmp_path / "tls" / "ca.pem",
        None,
    )
    every = endpoints(settings, "of-which-the-profile-says-nothing")
    assert [endpoint.address for endpoint in every] == [
        "first:7051",
        "localhost:9051",
        "third:7051",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "a: b: c",
        "peers: {}",
        "peers: {a: {}}",
        "peers: {a: {url: 7051}}",
        "peers: {a: {url: 'http://a:1'}}",
        "channels: {kindledger: {peers: {b: {}}}}\npeers: {a: {url: 'grpc://a:1'}}",
    ],
)
def test_a_profile_that_names_no_usable_peer_says_so(tmp_path: Path, text: str) -> None:
    settings = FabricSettings(connection_profile=write(tmp_path, text, "profile.yaml"))
    with pytest.raises(ConfigurationError, match=r"fabric\.(connection_profile|peers)"):
        endpoints(settings, "kindledger")


@pytest.mark.parametrize(
    "address", ["host", "http://host:1", "grpc://host:x", "grpc://host:70000", "grpc://[::1", ":1"]
)
def test_an_address_that_is_none_says_what_is_expected(address: str) -> None:
    with pytest.raises(ConfigurationError, match="expected grpcs://host:port or grpc://host:port"):
        endpoints(FabricSettings.model_validate({"peers": [{"address": address}]}), "kindledger")


def test_tls_is_what_the_address_and_the_files_say(files: Files) -> None:
    def endpoint(address: str, **changes: Any) -> Any:
        (only,) = endpoints(
            FabricSettings.model_validate(files.fabric(address, **changes)), "kindledger"
        )
        return only

    assert (
        endpoint("localhost:1").tls_ca
        == endpoint("grpcs://localhost:1").tls_ca
        == files.folder / "ca.pem"
    )
    assert endpoint("grpcs://localhost:1").client_key == files.folder / "client.key"
    assert (
        endpoint("grpc://localhost:1").tls_ca is endpoint("localhost:1", tls_ca=None).tls_ca is None
    )
    with pytest.raises(ConfigurationError, match="tls_ca is needed"):
        endpoint("grpcs://localhost:1", tls_ca=None)
    with pytest.raises(ConfigurationError, match=r"no-such\.pem: no such file"):
        endpoint("grpcs://localhost:1", tls_ca=files.folder / "no-such.pem")


def test_an_identity_may_be_an_msp_folder(files: Files) -> None:
    for name, file in (("signcerts", "cert.pem"), ("keystore", "key.pem")):
        (files.folder / name).mkdir()
        (files.folder / file).rename(files.folder / name / file)
    folders = {"certificate": files.folder / "signcerts", "key": files.folder / "keystore"}
    settings = FabricSettings.model_validate(files.fabric("grpc://p:1", **folders))
    assert [source.name for source in peer_sources(settings, "kindledger")] == ["p:1"]
    (files.folder / "keystore" / "another").touch()
    with pytest.raises(IdentityError, match="which one is meant"):
        peer_sources(settings, "kindledger")


@pytest.mark.parametrize(
    ("changes", "contents", "says"),
    [
        (
            {"msp_id": None, "key": None},
            {},
            "fabric.msp_id, fabric.key: needed to read from a peer",
        ),
        ({}, {"cert.pem": None}, "cert.pem: cannot be read: No such file"),
        ({}, {"cert.pem": b"PEM?"}, "cert.pem: not a PEM certificate"),
        ({}, {"key.pem": b"PEM?"}, "key.pem: not an unencrypted PEM private key"),
        ({}, {"key.pem": SERVER.key}, "does not belong to"),
        ({"peers": []}, {}, "fabric.peers: no peer is configured"),
    ],
)
def test_an_identity_that_cannot_be_used_ends_with_78(
    files: Files,
    changes: Json,
    contents: dict[str, bytes | None],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, content in contents.items():
        if content is None:
            (files.folder / name).unlink()
        else:
            (files.folder / name).write_bytes(content)
    settings = FabricSettings.model_validate(files.fabric("grpc://localhost:1") | changes)
    with pytest.raises(SystemExit) as ended, exit_on_failure(daemon=True):
        peer_sources(settings, "kindledger")
    assert ended.value.code == 78
    assert says in capsys.readouterr().err


async def test_the_daemon_without_a_channel_ends_with_78(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended, exit_on_failure(daemon=True):
        await run_daemon(Settings(), with_api=False)
    assert ended.value.code == 78
    assert "channels: none is configured" in capsys.readouterr().err


def test_no_more_streams_than_the_process_may_have_open_files() -> None:
    """Else connections could not be accepted, and requests would suffer with the streams."""
    script = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, int(sys.argv[1])))\n"
        "from cli.assembly.api import api_options\n"
        "from cli.configuration.settings import ApiSettings\n"
        "print(api_options(ApiSettings(streams=2000)).streams, resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
    )

    def streams_and_files(hard_limit: int) -> tuple[list[str], bool]:
        command = [sys.executable, "-c", script, str(hard_limit)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.splitlines()[-1].split(), "api_streams_limited" in done.stdout

    assert streams_and_files(4000) == (["2000", "2512"], False)
    assert streams_and_files(1000) == (["488", "1000"], True)
