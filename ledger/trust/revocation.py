"""Certificate revocation lists of an MSP: which certificates their issuers took back."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from ledger.trust.chains import Chain
from ledger.trust.limits import MAX_REVOCATION_LIST_BYTES
from ledger.trust.verdicts import RefusedError, UncheckedError

_SIGNATURE_HASHES = {"sha256", "sha384", "sha512"}


@dataclass(frozen=True, slots=True, eq=False)
class RevocationList:
    """The serial numbers that an authority revoked; `issuer` is its key identifier, if given."""

    parsed: x509.CertificateRevocationList
    issuer: bytes | None
    serials: frozenset[int]


def read_revocation_list(data: bytes) -> RevocationList:
    """Return the revocation list in PEM or DER.

    Raises `RefusedError` when there is none, and `UncheckedError` when it is too long.
    """
    if len(data) > MAX_REVOCATION_LIST_BYTES:
        raise UncheckedError(f"a revocation list of {len(data)} bytes is too long")
    load = (
        x509.load_pem_x509_crl
        if data.lstrip().startswith(b"-----BEGIN")
        else x509.load_der_x509_crl
    )
    try:
        parsed = load(data)
        issuer = None
        for extension in parsed.extensions:
            if isinstance(extension.value, x509.AuthorityKeyIdentifier):
                issuer = extension.value.key_identifier
        return RevocationList(parsed, issuer, frozenset(entry.serial_number for entry in parsed))
    except MemoryError:
        raise
    except Exception as error:  # anyone can write it, and the errors are of several types
        raise RefusedError("a revocation list cannot be parsed") from error


def check_revocation(chain: Chain, lists: tuple[RevocationList, ...]) -> None:
    """Raise `RefusedError` if the issuer of the chain's first certificate revoked it.

    As in Fabric, the dates of a list are of no account: it counts from the CONFIG block on that has
    it. A list counts if it names the issuer's key and the issuer signed it.
    """
    certificate, issuer = chain[0], chain[1]
    if issuer.key_identifier is None:
        raise RefusedError("the authority of the certificate has no key identifier")
    for revocations in lists:
        if revocations.issuer is None:
            raise RefusedError(
                "a revocation list of the MSP does not name the key of its authority"
            )
        if (
            revocations.issuer == issuer.key_identifier
            and certificate.parsed.serial_number in revocations.serials
            and _is_signed(revocations.parsed, issuer.public_key)
        ):
            raise RefusedError("the certificate is revoked")


def _is_signed(parsed: x509.CertificateRevocationList, key: object) -> bool:
    try:
        algorithm = parsed.signature_hash_algorithm
        if algorithm is not None and algorithm.name not in _SIGNATURE_HASHES:
            return False
        return parsed.is_signature_valid(key)  # type: ignore[arg-type]  # other keys: TypeError
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False
