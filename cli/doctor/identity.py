"""Checks the identity that reads from peers, and the client certificate for mutual TLS."""

import stat
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cli.assembly.network import identity_loader
from cli.configuration.settings import FabricSettings
from cli.doctor.checks import Check, Details, FailedStepError, Risk, run_part, skipped
from cli.errors import ConfigurationError, Exit
from ledger.signing import IdentityError
from protos.msp_pb2 import SerializedIdentity

_FILES, _PERMISSIONS, _VALIDITY = "files", "permissions", "validity"
_STEPS = (_FILES, _PERMISSIONS, _VALIDITY)
_RENEW_ADVICE = "Enroll or issue it again; if the dates are right, check this machine's clock."


async def check_identity(settings: FabricSettings) -> list[Check]:
    """Check that certificate and key can be read, belong together, are protected and valid now."""
    configured = (settings.msp_id, settings.certificate, settings.key)
    if not any(configured) and not _has_peers(settings):
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
        if settings.key is not None:
            details[_PERMISSIONS] = _check_permissions(settings.key)
        details[_VALIDITY] = _check_validity(certificate)

    return await run_part("identity", _STEPS, probe)


async def check_client_tls(settings: FabricSettings) -> list[Check]:
    """Check the client certificate and its key, which mutual TLS needs.

    The steps are those of `check_identity`.
    """
    certificate_path, key_path = settings.client_tls_certificate, settings.client_tls_key
    if certificate_path is None or key_path is None:
        reason = "not configured: peers that demand a client certificate will refuse connections"
        return [skipped("client tls", reason)]

    async def probe(details: Details) -> None:
        certificate = _load_pair(certificate_path, key_path)
        details[_FILES] = certificate.subject.rfc4514_string()
        details[_PERMISSIONS] = _check_permissions(key_path)
        details[_VALIDITY] = _check_validity(certificate)

    return await run_part("client tls", _STEPS, probe)


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
    advice = (
        "fabric.client_tls_certificate must name a TLS certificate, and fabric.client_tls_key the "
        "key of this certificate."
    )
    return FailedStepError(_FILES, detail, advice, Exit.CONFIGURATION)


def _check_permissions(key: Path) -> str | Risk:
    """Return a risk if users other than its owner can read the private key."""
    if key.is_dir():
        key = next(entry for entry in key.iterdir() if entry.is_file())
    mode = stat.S_IMODE(key.stat().st_mode)
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        readers = "every user" if mode & stat.S_IROTH else "its group"
        return Risk(
            f"{key}: {readers} of this machine can read the private key (mode {mode:04o})",
            "Let only the user of this program read it: chown and chmod 600.",
        )
    return "only the owner can read the private key"


def _check_validity(certificate: x509.Certificate) -> str:
    start = certificate.not_valid_before_utc
    end = certificate.not_valid_after_utc
    now = datetime.now(UTC)
    if now > end:
        raise FailedStepError(
            _VALIDITY, f"expired on {end:%Y-%m-%d %H:%M} UTC", _RENEW_ADVICE, Exit.CONFIGURATION
        )
    if now < start:
        raise FailedStepError(
            _VALIDITY,
            f"not valid before {start:%Y-%m-%d %H:%M} UTC",
            _RENEW_ADVICE,
            Exit.CONFIGURATION,
        )
    return f"until {end:%Y-%m-%d %H:%M} UTC, {(end - now).days} days"
