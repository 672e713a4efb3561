"""The identity that reads from peers, and the certificate for mutual TLS: files, keys, validity."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cli.assembly.network import identity_loader
from cli.configuration.settings import FabricSettings
from cli.doctor.checks import Check, Details, FailedStepError, run_part, skipped
from cli.errors import ConfigurationError, Exit
from ledger.signing import IdentityError
from protos.msp_pb2 import SerializedIdentity

_FILES, _VALIDITY = "files", "validity"
_RENEW = "Enroll or issue it anew; if the dates are right, check this machine's clock."


async def check_identity(settings: FabricSettings) -> list[Check]:
    """Whether certificate and key can be read, belong together and are valid now."""
    if (
        settings.msp_id is None
        and settings.certificate is None
        and settings.key is None
        and not _has_peers(settings)
    ):
        return [skipped("identity", "no peer is configured, so none is needed")]

    async def probe(details: Details) -> None:
        try:
            identity = identity_loader(settings)()
        except (ConfigurationError, IdentityError) as error:
            raise FailedStepError(
                _FILES,
                str(error),
                "Correct fabric.msp_id, fabric.certificate and fabric.key.",
                Exit.CONFIGURATION,
            ) from error
        certificate = x509.load_pem_x509_certificate(
            SerializedIdentity.FromString(identity.creator).id_bytes
        )
        details[_FILES] = f"{settings.msp_id}, {certificate.subject.rfc4514_string()}"
        details[_VALIDITY] = _check_validity(certificate)

    return await run_part("identity", (_FILES, _VALIDITY), probe)


async def check_client_tls(settings: FabricSettings) -> list[Check]:
    """The same of the certificate that is shown to peers that demand one."""
    certificate_path, key_path = settings.client_tls_certificate, settings.client_tls_key
    if certificate_path is None or key_path is None:
        return [
            skipped(
                "client tls", "not configured: peers that demand a client certificate will refuse"
            )
        ]

    async def probe(details: Details) -> None:
        certificate = _load_pair(certificate_path, key_path)
        details[_FILES] = certificate.subject.rfc4514_string()
        details[_VALIDITY] = _check_validity(certificate)

    return await run_part("client tls", (_FILES, _VALIDITY), probe)


def _has_peers(settings: FabricSettings) -> bool:
    return bool(settings.peers) or settings.connection_profile is not None


def _load_pair(certificate_path: Path, key_path: Path) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = load_pem_private_key(key_path.read_bytes(), password=None)
    except OSError as error:
        raise _unusable(f"{error.filename}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise _unusable(
            f"{certificate_path} and {key_path}: not a PEM certificate and its unencrypted PEM key"
        ) from error
    if key.public_key() != certificate.public_key():
        raise _unusable(f"{key_path} does not belong to {certificate_path}")
    return certificate


def _unusable(detail: str) -> FailedStepError:
    advice = "fabric.client_tls_certificate and fabric.client_tls_key name a TLS certificate and its own key."
    return FailedStepError(_FILES, detail, advice, Exit.CONFIGURATION)


def _check_validity(certificate: x509.Certificate) -> str:
    start, end, now = (
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        datetime.now(UTC),
    )
    if now > end:
        raise FailedStepError(
            _VALIDITY, f"expired on {end:%Y-%m-%d %H:%M} UTC", _RENEW, Exit.CONFIGURATION
        )
    if now < start:
        raise FailedStepError(
            _VALIDITY, f"not valid before {start:%Y-%m-%d %H:%M} UTC", _RENEW, Exit.CONFIGURATION
        )
    return f"until {end:%Y-%m-%d %H:%M} UTC, {(end - now).days} days"
