"""Certificate authorities, certificates and signers as `cryptogen` makes them, from a seed.

Keys, serial numbers and signatures (RFC 6979) depend only on the seed, so equal seeds give equal
networks, byte for byte. Anyone can compute these keys: never use them outside a devnet.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import sha256, sha512
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from protos.msp_pb2 import SerializedIdentity

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
VALID_FROM = datetime(2024, 1, 1, tzinfo=UTC)
VALID_TO = datetime(2044, 1, 1, tzinfo=UTC)

_ECDSA = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


def derive_key(seed: int, label: str) -> ec.EllipticCurvePrivateKey:
    """Return the P-256 key of the member `label` in the network of `seed`."""
    digest = sha512(f"{seed}/{label}".encode()).digest()
    return ec.derive_private_key(
        int.from_bytes(digest, "big") % (P256_ORDER - 1) + 1, ec.SECP256R1()
    )


def is_low_s(signature: bytes) -> bool:
    """Return whether the DER signature has the lower of its two possible S, as Fabric requires.

    Raises ValueError if it is not a DER signature.
    """
    return decode_dss_signature(signature)[1] <= P256_ORDER // 2


class Signer:
    """A member of an organisation, with a private key to sign with."""

    def __init__(self, mspid: str, certificate: bytes, key: ec.EllipticCurvePrivateKey) -> None:
        self.mspid = mspid
        self.certificate = certificate
        self.serialized = SerializedIdentity(mspid=mspid, id_bytes=certificate).SerializeToString()
        self._key = key

    def write(self, folder: Path) -> None:
        """Write `cert.pem` and `key.pem` (mode 0600) to `folder`, which is created if absent."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cert.pem").write_bytes(self.certificate)
        key = folder / "key.pem"
        key.touch(mode=0o600)
        key.write_bytes(
            self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def sign(self, message: bytes) -> bytes:
        """Return the ECDSA signature over SHA-256, as DER with the low S that Fabric requires."""
        r, s = decode_dss_signature(self._key.sign(message, _ECDSA))
        return encode_dss_signature(r, min(s, P256_ORDER - s))


class PlaceholderSigner(Signer):
    """A signer with well-formed but invalid signatures, which are ten times faster to make."""

    def sign(self, message: bytes) -> bytes:
        """Return 70 bytes of DER that depend on the message."""
        digest = sha256(message).digest()
        half = bytes((digest[0] & 0x3F | 0x40,)) + digest[1:]
        return b"\x30\x44\x02\x20" + half + b"\x02\x20" + half


class CertificateAuthority:
    """The root authority that issues the certificates of one organisation."""

    def __init__(self, seed: int, domain: str, *, name: str) -> None:
        self._seed = seed
        self._subject = _name(f"{name}.{domain}", organisation=domain)
        self._label = f"{name}.{domain}"
        self._key = derive_key(seed, self._label)
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self._key_identifier = sha256(point).digest()
        self.certificate = self._certify(
            self._label,
            self._subject,
            self._key.public_key(),
            [
                (x509.BasicConstraints(ca=True, path_length=None), True),
                (_key_usage(authority=True), True),
                (_server_and_client(), False),
                (x509.SubjectKeyIdentifier(self._key_identifier), False),
            ],
            VALID_TO,
        )

    def enroll(
        self,
        mspid: str,
        common_name: str,
        unit: str,
        *,
        signer: type[Signer] = Signer,
        valid_to: datetime = VALID_TO,
    ) -> Signer:
        """Return a new member with the role `unit`: client, peer, admin or orderer (NodeOUs)."""
        key = derive_key(self._seed, common_name)
        certificate = self._certify(
            common_name,
            _name(common_name, unit=unit),
            key.public_key(),
            [
                (_key_usage(authority=False), True),
                (x509.BasicConstraints(ca=False, path_length=None), True),
                (self._authority_key_identifier(), False),
            ],
            valid_to,
        )
        return signer(mspid, certificate, key)

    def revoke(self, *members: Signer) -> bytes:
        """Return the list (PEM) of revoked certificates, with those of these members."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._subject)
            .last_update(VALID_FROM)
            .next_update(VALID_TO)
            .add_extension(self._authority_key_identifier(), critical=False)
        )
        for member in members:
            serial = x509.load_pem_x509_certificate(member.certificate).serial_number
            revoked = x509.RevokedCertificateBuilder(serial, VALID_FROM).build()
            builder = builder.add_revoked_certificate(revoked)
        signed = builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)
        return signed.public_bytes(Encoding.PEM)

    def issue_server(self, host: str) -> bytes:
        """Return the certificate (PEM) of a TLS server; its key is not needed."""
        label = f"tls/{host}"
        return self._certify(
            label,
            _name(host),
            derive_key(self._seed, label).public_key(),
            [
                (_key_usage(authority=False), True),
                (_server_and_client(), False),
                (x509.BasicConstraints(ca=False, path_length=None), True),
                (self._authority_key_identifier(), False),
                (
                    x509.SubjectAlternativeName(
                        [x509.DNSName(host), x509.IPAddress(IPv4Address("127.0.0.1"))],
                    ),
                    False,
                ),
            ],
            VALID_TO,
        )

    def _authority_key_identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier(self._key_identifier, None, None)

    def _certify(
        self,
        label: str,
        subject: x509.Name,
        public_key: ec.EllipticCurvePublicKey,
        extensions: Iterable[tuple[x509.ExtensionType, bool]],
        valid_to: datetime,
    ) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(public_key)
            .not_valid_before(VALID_FROM)
            .not_valid_after(valid_to)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        for attempt in count():
            serial = int.from_bytes(
                sha256(f"{self._seed}/{label}/{attempt}".encode()).digest()[:15], "big"
            )
            certificate = builder.serial_number(serial + 1).sign(
                self._key, hashes.SHA256(), ecdsa_deterministic=True
            )
            # Fabric's MSP rewrites certificates with a high S, so blocks contain only low S.
            if is_low_s(certificate.signature):
                return certificate.public_bytes(Encoding.PEM)
        raise AssertionError("unreachable: half of all serial numbers give a low S")


def _name(common_name: str, *, organisation: str = "", unit: str = "") -> x509.Name:
    attributes: Sequence[tuple[x509.ObjectIdentifier, str]] = (
        (NameOID.COUNTRY_NAME, "VN"),
        (NameOID.STATE_OR_PROVINCE_NAME, "Hà Nội"),
        (NameOID.LOCALITY_NAME, "Hoàn Kiếm"),
        (NameOID.ORGANIZATION_NAME, organisation),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
        (NameOID.COMMON_NAME, common_name),
    )
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in attributes if text])


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _server_and_client() -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
