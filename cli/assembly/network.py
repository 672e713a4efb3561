"""The configured Fabric network: its peers, their TLS files, and the identity that reads.

Peers are listed in the configuration or in a connection profile, the YAML or JSON file that
Fabric's SDKs read.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from cli.configuration.settings import FabricSettings, PeerSettings
from cli.errors import ConfigurationError
from indexer.sources.peer_source import Endpoint, PeerSource
from ledger.signing import SigningIdentity, load_signing_identity


def endpoints(settings: FabricSettings, channel: str) -> list[Endpoint]:
    """Return the peers of the channel in the order of their use. Raises `ConfigurationError`."""
    peers = list(settings.peers)
    if settings.connection_profile is not None:
        peers += _profile_peers(settings.connection_profile, channel)
    if not peers:
        raise ConfigurationError(
            "fabric.peers: no peer is configured; list a peer, or set fabric.connection_profile"
        )
    return [_endpoint(peer, settings) for peer in peers]


def identity_loader(settings: FabricSettings) -> Callable[[], SigningIdentity]:
    """Return a function that loads the identity; each call reads the files, as they may be renewed.

    Raises `ConfigurationError` if a key of the identity is missing.
    """
    missing = [key for key in ("msp_id", "certificate", "key") if getattr(settings, key) is None]
    if settings.msp_id is None or settings.certificate is None or settings.key is None:
        keys = ", ".join(f"fabric.{key}" for key in missing)
        raise ConfigurationError(
            f"{keys}: needed to read from a peer: the MSP id, certificate and private key of a "
            "member of an organisation"
        )
    return partial(load_signing_identity, settings.msp_id, settings.certificate, settings.key)


def peer_sources(settings: FabricSettings, channel: str) -> list[PeerSource]:
    """Return a block source for each peer.

    Raises `ConfigurationError`, and `IdentityError` for certificate files that cannot be used.
    """
    loader = identity_loader(settings)
    loader()
    return [PeerSource(endpoint, channel, loader) for endpoint in endpoints(settings, channel)]


def _endpoint(peer: PeerSettings, settings: FabricSettings) -> Endpoint:
    scheme, address = _split(peer.address)
    tls_ca: Path | bytes | None = (
        peer.tls_ca_pem.encode() if peer.tls_ca_pem is not None else peer.tls_ca
    )
    tls = scheme == "grpcs" or (scheme != "grpc" and tls_ca is not None)
    if tls and tls_ca is None:
        raise ConfigurationError(
            f"fabric.peers: {peer.address!r}: tls_ca is needed for TLS: the certificate "
            "of the peer's TLS CA"
        )
    for path in (peer.tls_ca, settings.client_tls_certificate, settings.client_tls_key):
        if tls and path is not None and not path.is_file():
            raise ConfigurationError(f"fabric: {path}: no such file")
    return Endpoint(
        address=address,
        tls_ca=tls_ca if tls else None,
        tls_name=peer.tls_name,
        client_certificate=settings.client_tls_certificate if tls else None,
        client_key=settings.client_tls_key if tls else None,
        label=peer.name,
        msp_id=peer.msp_id,
    )


def _split(address: str) -> tuple[str, str]:
    """Return the scheme (`grpcs`, `grpc` or empty) and `host:port`. Raises `ConfigurationError`."""
    try:
        url = urlsplit(address if "://" in address else f"//{address}")
        valid = (
            url.scheme in ("", "grpc", "grpcs")
            and url.hostname
            and url.port
            and url.path in ("", "/")
        )
    except ValueError:
        valid = False
    if not valid or "@" in url.netloc:
        raise ConfigurationError(
            f"fabric.peers: {address!r}: expected grpcs://host:port or grpc://host:port"
        )
    return url.scheme, url.netloc


def _profile_peers(path: Path, channel: str) -> list[PeerSettings]:
    try:
        profile: Any = yaml.safe_load(path.read_text())
        peers = profile["peers"]
        listed = ((profile.get("channels") or {}).get(channel) or {}).get("peers") or {}
        names = [
            name for name in listed or peers if (listed.get(name) or {}).get("ledgerQuery", True)
        ]
        organisations = _profile_organisations(profile)
        return [_profile_peer(name, peers[name], organisations.get(name), path) for name in names]
    except OSError as error:
        raise ConfigurationError(
            f"fabric.connection_profile: {path}: cannot be read: {error.strerror}"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigurationError(
            f"fabric.connection_profile: {path}: neither YAML nor JSON: {error}"
        ) from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"fabric.connection_profile: {path}: not a connection profile with peers and "
            f"their url ({error!r})"
        ) from error


def _profile_organisations(profile: dict[str, Any]) -> dict[str, str]:
    """Return the MSP id of each peer that an organisation of the profile lists."""
    return {
        name: str(organisation["mspid"])
        for organisation in (profile.get("organizations") or {}).values()
        if organisation.get("mspid")
        for name in organisation.get("peers") or ()
    }


def _profile_peer(
    name: str, peer: dict[str, Any], msp_id: str | None, profile: Path
) -> PeerSettings:
    options = peer.get("grpcOptions") or {}
    certificates = peer.get("tlsCACerts") or {}
    pem = certificates.get("pem")
    return PeerSettings(
        address=str(peer["url"]),
        name=name,
        msp_id=msp_id,
        tls_ca=profile.parent / certificates["path"] if "path" in certificates else None,
        tls_ca_pem="".join(pem) if isinstance(pem, list) else pem,
        tls_name=options.get("ssl-target-name-override") or options.get("hostnameOverride"),
    )
