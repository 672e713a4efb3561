"""The settings of the Fabric network: peers, connection profiles and identities."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.assembly.network import endpoints, peer_sources
from cli.configuration.settings import FabricSettings
from cli.errors import ConfigurationError, exit_on_failure
from ledger.signing import IdentityError
from tests.cli.configuring import write
from tests.cli.support import SERVER, TLS_AUTHORITY, Files, Json

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
    """Return a connection profile as YAML."""
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
def test_a_connection_profile_gives_the_peers_of_a_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
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
    every = endpoints(settings, "not-in-the-profile")
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
def test_a_profile_without_a_usable_peer_is_named(tmp_path: Path, text: str) -> None:
    settings = FabricSettings(connection_profile=write(tmp_path, text, "profile.yaml"))
    with pytest.raises(ConfigurationError, match=r"fabric\.(connection_profile|peers)"):
        endpoints(settings, "kindledger")


@pytest.mark.parametrize(
    "address", ["host", "http://host:1", "grpc://host:x", "grpc://host:70000", "grpc://[::1", ":1"]
)
def test_an_invalid_address_is_answered_with_the_expected_form(address: str) -> None:
    with pytest.raises(ConfigurationError, match="expected grpcs://host:port or grpc://host:port"):
        endpoints(FabricSettings.model_validate({"peers": [{"address": address}]}), "kindledger")


def test_tls_depends_on_the_address_and_the_files(files: Files) -> None:
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
def test_an_identity_that_cannot_be_used_exits_78(
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
