"""Reads X.509 certificates as Fabric's MSP does, with what the search for their chain needs."""

import binascii
import warnings
from base64 import b64decode
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from ledger.trust.keys import order_of, read_signature
from ledger.trust.limits import MAX_CERTIFICATE_BYTES
from ledger.trust.verdicts import RefusedError, UncheckedError

_MAX_PEM_BLOCKS = 8
_UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.NAME_CONSTRAINTS,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.CRL_DISTRIBUTION_POINTS,
    ExtensionOID.CERTIFICATE_POLICIES,
}
"""The critical extensions that Go's library understands; another one makes a chain invalid."""

_CHAIN_USES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
"""Fabric names no use when it verifies a chain, which means a TLS server to Go's library."""

_ECDSA_PREFIX = "1.2.840.10045.4."
_SIGNATURE_HASHES = {"sha256", "sha384", "sha512"}
"""Go's library refuses certificates that are signed with older hashes."""


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """A certificate; `der` is its form with a low S, by which Fabric compares certificates."""

    der: bytes
    parsed: x509.Certificate
    public_key: object
    subject: bytes
    issuer: bytes
    units: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    is_ca: bool
    path_length: int | None
    may_certify: bool
    may_serve: bool
    is_understood: bool
    constrains_names: bool
    key_identifier: bytes | None

    @property
    def is_signed_with_ecdsa(self) -> bool:
        """Whether the authority signed it with ECDSA."""
        return self.parsed.signature_algorithm_oid.dotted_string.startswith(_ECDSA_PREFIX)

    def is_issued_by(self, issuer: "Certificate") -> bool:
        """Return whether `issuer` may issue certificates and signed this one."""
        if self.issuer != issuer.subject or not issuer.is_ca or not issuer.may_certify:
            return False
        try:
            algorithm = self.parsed.signature_hash_algorithm
            if algorithm is not None and algorithm.name not in _SIGNATURE_HASHES:
                return False
            self.parsed.verify_directly_issued_by(issuer.parsed)
        except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
            return False
        return True

    def with_low_s(self, issuer: "Certificate") -> "Certificate":
        """Return the certificate with the low one of the two S of its ECDSA signature."""
        order = order_of(issuer.public_key)
        if order is None or not self.is_signed_with_ecdsa:
            return self
        try:
            r, s = read_signature(self.parsed.signature)
        except ValueError as error:
            raise RefusedError(f"the signature of a certificate has {error}") from None
        signature = encode_dss_signature(r, min(s, order - s))
        if signature == self.parsed.signature:
            return self
        return replace(self, der=_signed(self.parsed, signature))


def read_certificate(pem: bytes) -> Certificate:
    """Return the first certificate in PEM text; its S is not lowered yet.

    Raises `RefusedError` when there is none, and `UncheckedError` when the text is too long.
    """
    if len(pem) > MAX_CERTIFICATE_BYTES:
        raise UncheckedError(
            f"a certificate of {len(pem)} bytes is longer than {MAX_CERTIFICATE_BYTES}"
        )
    der = _first_pem_block(pem)
    if der is None:
        raise RefusedError("the certificate is no PEM text")
    try:
        with warnings.catch_warnings(action="ignore"):
            return _read(x509.load_der_x509_certificate(der))
    except MemoryError:
        raise
    except Exception as error:  # anyone can write it, and the errors are of several types
        raise RefusedError("the certificate cannot be parsed") from error


def _read(parsed: x509.Certificate) -> Certificate:
    constraints: x509.BasicConstraints | None = None
    key_identifier: bytes | None = None
    may_certify = may_serve = is_understood = True
    constrains_names = False
    for extension in parsed.extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints):
            constraints = value
        elif isinstance(value, x509.KeyUsage):
            may_certify = value.key_cert_sign
        elif isinstance(value, x509.ExtendedKeyUsage):
            may_serve = not _CHAIN_USES.isdisjoint(value)
        elif isinstance(value, x509.SubjectKeyIdentifier):
            key_identifier = value.digest
        elif isinstance(value, x509.NameConstraints):
            constrains_names = True
        if extension.critical and extension.oid not in _UNDERSTOOD:
            is_understood = False
    names = parsed.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    der = parsed.public_bytes(Encoding.DER)
    if der[-len(parsed.signature) - 1]:  # the number of bits to drop, which the library ignores
        raise ValueError("the signature is not a whole number of bytes")
    return Certificate(
        der=der,
        parsed=parsed,
        public_key=parsed.public_key(),
        subject=parsed.subject.public_bytes(),
        issuer=parsed.issuer.public_bytes(),
        units=tuple(name.value for name in names if isinstance(name.value, str)),
        not_before=parsed.not_valid_before_utc,
        not_after=parsed.not_valid_after_utc,
        is_ca=constraints is not None and constraints.ca,
        path_length=constraints.path_length if constraints is not None else None,
        may_certify=may_certify,
        may_serve=may_serve,
        is_understood=is_understood,
        constrains_names=constrains_names,
        key_identifier=key_identifier,
    )


def _first_pem_block(text: bytes) -> bytes | None:
    """Return the content of the first block of PEM text, whatever the block's label is."""
    start = 0
    for _ in range(_MAX_PEM_BLOCKS):
        begin = text.find(b"-----BEGIN ", start)
        line_end = text.find(b"\n", begin)
        if begin < 0 or line_end < 0:
            return None
        start = line_end
        first_line = text[begin:line_end].rstrip()
        if (begin and text[begin - 1 : begin] != b"\n") or not first_line.endswith(b"-----"):
            continue
        end = text.find(b"-----END " + first_line[len(b"-----BEGIN ") :], line_end)
        if end < 0:
            continue
        lines = text[line_end + 1 : end].splitlines()
        while lines and b":" in lines[0]:
            del lines[0]
        try:
            return b64decode(b"".join(b"".join(lines).split()), validate=True)
        except binascii.Error:
            continue
    return None


def _signed(parsed: x509.Certificate, signature: bytes) -> bytes:
    """Return the DER of a certificate with another signature."""
    whole, content = parsed.public_bytes(Encoding.DER), parsed.tbs_certificate_bytes
    at = whole.index(content) + len(content)
    algorithm = whole[at : at + 2 + whole[at + 1]]
    body = content + algorithm + _der(0x03, b"\0" + signature)
    return _der(0x30, body)


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content
