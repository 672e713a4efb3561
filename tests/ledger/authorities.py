"""Certificate authorities that issue whatever a test of `ledger.trust` asks for."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA3_256, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ledger.trust.keys import order_of
from ledger.trust.msp import Msp, MspVersion, set_up_msp
from protos.msp_pb2 import (
    FabricCryptoConfig,
    FabricMSPConfig,
    FabricNodeOUs,
    FabricOUIdentifier,
    SerializedIdentity,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=3650)

Key = Any


class Member:
    """A certificate with its key."""

    def __init__(self, certificate: x509.Certificate, key: Key) -> None:
        self.certificate, self.key = certificate, key
        self.pem = certificate.public_bytes(Encoding.PEM)

    def serialized(self, msp_id: str = "Org1MSP") -> bytes:
        return SerializedIdentity(mspid=msp_id, id_bytes=self.pem).SerializeToString()

    def sign(self, message: bytes, algorithm: HashAlgorithm | None = None) -> bytes:
        """Return the signature with a low S, or the Ed25519 signature."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(message)
        r, s = decode_dss_signature(self.key.sign(message, ec.ECDSA(algorithm or SHA256())))
        order = order_of(self.key.public_key())
        assert order is not None
        return encode_dss_signature(r, min(s, order - s))


class Authority(Member):
    """A root, or with an issuer an intermediate."""

    def __init__(
        self,
        name: str = "ca.org1",
        issuer: "Authority | None" = None,
        *,
        key: Key = None,
        **options: Any,
    ) -> None:
        key = key or ec.generate_private_key(ec.SECP256R1())
        self.name = name
        signer: tuple[str, Key] = (name, key) if issuer is None else (issuer.name, issuer.key)
        super().__init__(certify(name, key, *signer, ca=True, **options), key)

    def issue(
        self, units: Sequence[str] = ("peer",), name: str = "peer0", key: Key = None, **options: Any
    ) -> Member:
        key = key or ec.generate_private_key(ec.SECP256R1())
        return Member(certify(name, key, self.name, self.key, units=units, **options), key)

    def revoke(self, *members: Member, signed_by: "Authority | None" = None) -> bytes:
        """Return the revocation list (PEM) of this authority."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(_name(self.name, ()))
            .last_update(START)
            .next_update(END)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
            )
        )
        for member in members:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(member.certificate.serial_number)
                .revocation_date(START)
                .build()
            )
        return builder.sign((signed_by or self).key, SHA256()).public_bytes(Encoding.PEM)


def certify(
    name: str,
    key: Key,
    issuer: str,
    signing_key: Key,
    *,
    units: Sequence[str] = (),
    ca: bool = False,
    start: datetime = START,
    end: datetime = END,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    path_length: int | None = None,
    key_identifier: bool = True,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name, units))
        .issuer_name(_name(issuer, ()))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    )
    if ca and key_identifier:
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    algorithm = None if isinstance(signing_key, ed25519.Ed25519PrivateKey) else SHA256()
    return builder.sign(signing_key, algorithm)


def msp_config(
    *roots: Member,
    intermediates: Sequence[Member] = (),
    revocations: Sequence[bytes] = (),
    admins: Sequence[Member] = (),
    node_units: bool = True,
    family: str = "SHA2",
    name: str = "Org1MSP",
) -> FabricMSPConfig:
    def unit(role: str) -> FabricOUIdentifier:
        return FabricOUIdentifier(organizational_unit_identifier=role)

    config = FabricMSPConfig(
        name=name,
        root_certs=[root.pem for root in roots],
        intermediate_certs=[member.pem for member in intermediates],
        revocation_list=revocations,
        admins=[admin.pem for admin in admins],
        crypto_config=FabricCryptoConfig(
            signature_hash_family=family, identity_identifier_hash_function="SHA256"
        ),
    )
    if node_units:
        config.fabric_node_ous.CopyFrom(
            FabricNodeOUs(
                enable=True,
                client_ou_identifier=unit("client"),
                peer_ou_identifier=unit("peer"),
                admin_ou_identifier=unit("admin"),
                orderer_ou_identifier=unit("orderer"),
            )
        )
    return config


def _name(common_name: str, units: Sequence[str]) -> x509.Name:
    return x509.Name(
        [
            *(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def msp(config: FabricMSPConfig, version: MspVersion = MspVersion.V1_4_3) -> Msp:
    """Return the MSP of a definition that can be used."""
    found = set_up_msp(config.SerializeToString(), version)
    assert isinstance(found, Msp), found
    return found


def fault(config: FabricMSPConfig, version: MspVersion = MspVersion.V1_4_3) -> str:
    """Return why an MSP cannot be used."""
    found = set_up_msp(config.SerializeToString(), version)
    assert isinstance(found, str)
    return found


SHA3 = SHA3_256()
