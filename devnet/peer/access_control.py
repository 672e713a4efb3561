"""Access control of a peer: checks the header and the signature of a seek request.

The rules are those of `common/deliver`, `msp` and `bccsp` in Fabric, with the default policy
`/Channel/Application/Readers`: every member of an application organisation may read.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from google.protobuf.message import DecodeError

from devnet.forge.identities import is_low_s
from devnet.peer.seek_request import RefusedError, SeekRequest
from protos.common_pb2 import BAD_REQUEST, FORBIDDEN, ChannelHeader
from protos.msp_pb2 import SerializedIdentity

TIME_WINDOW_S = 15 * 60
"""The largest difference between the timestamp of a request and the clock of the peer.

Fabric configures it as `peer.authentication.timewindow`.
"""


class AccessControl:
    """Accepts or refuses requests to a peer.

    `organisations` has the authorities' certificates (PEM) for each MSP id; None accepts unsigned
    requests of every client. `clock` returns seconds since 1970.
    """

    def __init__(
        self,
        organisations: Mapping[str, Sequence[bytes]] | None,
        *,
        mutual_tls: bool,
        clock: Callable[[], float],
    ) -> None:
        self._authorities: dict[str, list[x509.Certificate]] | None = None
        if organisations is not None:
            self._authorities = {
                mspid: [x509.load_pem_x509_certificate(pem) for pem in authorities]
                for mspid, authorities in organisations.items()
            }
        self._mutual_tls = mutual_tls
        self._clock = clock

    def check_header(self, header: ChannelHeader, client_certificate: bytes | None) -> None:
        """Check the timestamp and the hash of the client's TLS certificate (DER).

        Raises RefusedError 400 if a check fails.
        """
        if not header.HasField("timestamp"):
            raise RefusedError(BAD_REQUEST, "the channel header has no timestamp")
        distance = abs(self._clock() - header.timestamp.seconds - header.timestamp.nanos / 1e9)
        if distance > TIME_WINDOW_S:
            raise RefusedError(
                BAD_REQUEST, f"the timestamp differs by {distance:.0f} s from this peer's clock"
            )
        if not self._mutual_tls:
            return
        if (
            client_certificate is None
            or header.tls_cert_hash != sha256(client_certificate).digest()
        ):
            raise RefusedError(
                BAD_REQUEST, "tls_cert_hash is not the SHA-256 of the client's TLS certificate"
            )

    def check_identity(self, request: SeekRequest) -> float:
        """Return when the right to read ends, in seconds since 1970.

        Raises RefusedError 403 if the creator may not read.
        """
        if self._authorities is None:
            return math.inf
        try:
            identity = SerializedIdentity.FromString(request.signature_header.creator)
            certificate = x509.load_pem_x509_certificate(identity.id_bytes)
            _check_signature(certificate, request.signature, request.payload)
        except (DecodeError, ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
            raise RefusedError(
                FORBIDDEN, f"the signature of the creator is not valid: {error!r}"
            ) from error
        authorities = self._authorities.get(identity.mspid, ())
        if not any(_is_issued_by(certificate, authority) for authority in authorities):
            raise RefusedError(
                FORBIDDEN,
                f"{certificate.subject.rfc4514_string()} is not a member of {identity.mspid!r}",
            )
        now = datetime.fromtimestamp(self._clock(), UTC)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise RefusedError(FORBIDDEN, "the creator's certificate is expired or not valid yet")
        return certificate.not_valid_after_utc.timestamp()

    def check_expiry(self, end: float) -> None:
        """Raise RefusedError 403 if the right to read has ended; checked before each block."""
        if self._clock() > end:
            raise RefusedError(FORBIDDEN, "the creator's certificate has expired")


def _check_signature(certificate: x509.Certificate, signature: bytes, payload: bytes) -> None:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UnsupportedAlgorithm("only ECDSA keys on P-256 are supported")
    if not is_low_s(signature):
        raise ValueError("S is above half the order of the curve; Fabric accepts only the lower S")
    key.verify(signature, payload, ec.ECDSA(SHA256()))


def _is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    if certificate.fingerprint(SHA256()) == authority.fingerprint(SHA256()):
        return False  # the certificate of an authority is not the certificate of a member
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
