"""Certificates for the peer and its clients, for tests and the demo."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

_LIFETIME = timedelta(days=365)
_BACKDATED = timedelta(hours=1)
_LOCAL_HOSTS = ("localhost", "127.0.0.1")


class KeyPair(Struct, frozen=True):
    """A certificate and its private key (PEM; the key is PKCS #8, on P-256)."""

    certificate: bytes
    key: bytes


class ServerTls(Struct, frozen=True):
    """The key pair of a server, and the authority (PEM) of required client certificates."""

    identity: KeyPair
    client_authority: bytes | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials for a gRPC server."""
        return grpc.ssl_server_credentials(
            [(self.identity.key, self.identity.certificate)],
            root_certificates=self.client_authority,
            require_client_auth=self.client_authority is not None,
        )


class Authority:
    """A certificate authority for TLS or for members of an organisation, only in memory."""

    def __init__(self, organisation: str) -> None:
        self._name = _name(organisation, f"ca.{organisation}")
        self._organisation = organisation
        self._key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(self._name, self._name, self._key.public_key(), _LIFETIME).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.certificate = builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)
        """The self-signed certificate of the authority (PEM)."""

    def issue(
        self, name: str, *, hosts: Sequence[str] = _LOCAL_HOSTS, lifetime: timedelta = _LIFETIME
    ) -> KeyPair:
        """Return a key pair for a server on `hosts`, for a TLS client or for a member."""
        key = ec.generate_private_key(ec.SECP256R1())
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            _builder(_name(self._organisation, name), self._name, key.public_key(), lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
            .sign(self._key, SHA256())
        )
        return KeyPair(
            certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )


def server_tls_from(folder: Path, *, mutual: bool) -> ServerTls:
    """Return the TLS settings from the files of a folder, which are created if absent.

    With `mutual` the server requires client certificates. Files (PEM): ca.pem, server.pem,
    server.key, client.pem and client.key. Clients need ca.pem, and for mutual TLS also client.pem
    and client.key.
    """
    if not (folder / "ca.pem").exists():
        _create_files(folder)
    authority, certificate, key = (
        (folder / name).read_bytes() for name in ("ca.pem", "server.pem", "server.key")
    )
    return ServerTls(KeyPair(certificate, key), authority if mutual else None)


def _create_files(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    authority = Authority("devnet")
    for name in ("server", "client"):
        pair = authority.issue(name)
        key_file = folder / f"{name}.key"
        key_file.touch(mode=0o600)
        key_file.write_bytes(pair.key)
        (folder / f"{name}.pem").write_bytes(pair.certificate)
    (folder / "ca.pem").write_bytes(authority.certificate)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    start = datetime.now(UTC) - _BACKDATED
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + _BACKDATED + lifetime)
    )


def _name(organisation: str, common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
