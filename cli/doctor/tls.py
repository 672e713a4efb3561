"""Checks the TLS handshake with a peer, and tells why it fails.

With TLS 1.3 a server checks the client's certificate when the client's handshake is already
complete. A refusal therefore arrives instead of the server's first bytes.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from cli.doctor.checks import FailedStepError, time_limit
from cli.errors import Exit
from indexer.sources.peer_source import Endpoint

TLS = "tls"

# RFC 9113, 3.4: the first bytes of a client, here with an empty SETTINGS frame. The server's first
# frame is a SETTINGS frame, too.
_CLIENT_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_FRAME_HEADER_BYTES = 9
_SETTINGS_FRAME = 4
_UNPROMPTED_FRAME_S = 1.0
"""How long a server may take to send its first frame without the client's preface."""
_TLS_ALERT = b"\x15\x03"
# OpenSSL's error codes X509_V_ERR_….
_NOT_YET_VALID, _EXPIRED = 9, 10
_WRONG_NAME = frozenset({62, 64})

_SILENT_ADVICE = (
    "The port accepts connections but does not answer: check that it is the peer's gRPC port, and "
    "look at the peer's log."
)
_CLIENT_CERTIFICATE_ADVICE = (
    "Set fabric.client_tls_certificate and fabric.client_tls_key to a certificate of a CA that the "
    "peer's peer.tls.clientRootCAs names."
)


async def check_tls(host: str, port: int, endpoint: Endpoint, limit_s: float) -> str:
    """Return the TLS version of a handshake like gRPC's. Raises `FailedStepError`."""
    context = _context(endpoint)
    async with time_limit(TLS, limit_s, _SILENT_ADVICE):
        try:
            return await _open_http2_over_tls(host, port, endpoint, context)
        except ssl.SSLCertVerificationError as error:
            raise _untrusted(error, await _server_certificate(host, port)) from error
        except ssl.SSLError as error:
            raise _refused(error, endpoint) from error
        except OSError as error:
            raise _failed(
                "the connection was closed during the handshake",
                "If the peer does not use TLS, write its address as grpc://…. If it demands a "
                f"client certificate: {_CLIENT_CERTIFICATE_ADVICE}",
            ) from error


async def check_plaintext(host: str, port: int, limit_s: float) -> str:
    """Open HTTP/2 without TLS. Raises `FailedStepError`."""
    async with time_limit(TLS, limit_s, _SILENT_ADVICE):
        try:
            async with _open_connection(host, port, None, None) as (reader, writer):
                writer.write(_CLIENT_PREFACE)
                answer = await _first_frame(reader)
        except OSError:
            answer = b""
    if _is_settings(answer):
        return "no TLS, as configured"
    if not answer or answer.startswith(_TLS_ALERT):
        raise _failed(
            "the peer closed the connection without TLS: it probably demands TLS",
            "Use grpcs:// and give tls_ca, the certificate of the peer's TLS CA.",
        )
    raise _failed("not HTTP/2", "Check the port: a peer's gRPC port is 7051 by default.")


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return a context that verifies as gRPC does: it trusts only the given CAs.

    An intermediate CA is enough.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["h2"])
    authorities = endpoint.tls_ca
    try:
        pem = authorities.read_bytes() if isinstance(authorities, Path) else authorities or b""
        context.load_verify_locations(cadata=pem.decode("ascii"))
    except OSError as error:
        if not isinstance(error, ssl.SSLError):
            raise _failed(
                f"{error.filename}: cannot be read: {error.strerror}", "Check the path in tls_ca."
            ) from error
        raise _no_certificate(authorities) from error
    except ValueError as error:
        raise _no_certificate(authorities) from error
    if endpoint.client_certificate is not None and endpoint.client_key is not None:
        context.load_cert_chain(endpoint.client_certificate, endpoint.client_key)
    return context


def _no_certificate(authorities: object) -> FailedStepError:
    where = "tls_ca_pem" if isinstance(authorities, bytes) else str(authorities)
    return _failed(f"{where}: no PEM certificate", "Give the certificate of the peer's TLS CA.")


async def _open_http2_over_tls(
    host: str, port: int, endpoint: Endpoint, context: ssl.SSLContext
) -> str:
    async with _open_connection(host, port, context, endpoint.tls_name or host) as (reader, writer):
        session: ssl.SSLObject = writer.get_extra_info("ssl_object")
        if session.selected_alpn_protocol() != "h2":
            raise _failed(
                "TLS, but not HTTP/2", "Check the port: a peer's gRPC port is 7051 by default."
            )
        try:
            frame = await _server_frame(reader, writer)
        except ConnectionError:
            frame = b""
        if not _is_settings(frame):
            raise _client_certificate_refused(endpoint, "closed right after the handshake")
        if endpoint.client_certificate is None:
            return f"{session.version()}, no client certificate"
        return f"{session.version()}, with the client certificate"


async def _server_frame(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Return the server's first frame, which gRPC's servers send without the client's preface.

    The preface is sent only if no frame comes: bytes that are on their way when the server closes
    the connection can destroy the alert that says why.
    """
    try:
        async with asyncio.timeout(_UNPROMPTED_FRAME_S):
            return await _first_frame(reader)
    except TimeoutError:
        writer.write(_CLIENT_PREFACE)
        return await _first_frame(reader)


async def _first_frame(reader: asyncio.StreamReader) -> bytes:
    """Return the header of the first frame, or the part of it that arrived before the end."""
    try:
        return await reader.readexactly(_FRAME_HEADER_BYTES)
    except asyncio.IncompleteReadError as error:
        return error.partial


def _is_settings(frame: bytes) -> bool:
    return len(frame) == _FRAME_HEADER_BYTES and frame[3] == _SETTINGS_FRAME


@asynccontextmanager
async def _open_connection(
    host: str, port: int, context: ssl.SSLContext | None, name: str | None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _server_certificate(host: str, port: int) -> x509.Certificate | None:
    """Return the certificate of the server, to describe why it was not accepted.

    Nothing is sent over this unverified connection.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        async with _open_connection(host, port, context, None) as (_, writer):
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    except OSError:
        return None
    return x509.load_der_x509_certificate(der)


def _untrusted(
    error: ssl.SSLCertVerificationError, certificate: x509.Certificate | None
) -> FailedStepError:
    """Return why the peer's certificate is not accepted."""
    if error.verify_code in _WRONG_NAME:
        names = f", but for {', '.join(_names(certificate))}" if certificate is not None else ""
        return _failed(
            f"{error.verify_message.rstrip('.')}{names}",
            "Use an address with a name that the certificate has, or set tls_name to such a name "
            "(in a connection profile: grpcOptions, ssl-target-name-override).",
        )
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        dates = ""
        if certificate is not None:
            start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            dates = f"; {start:%Y-%m-%d} to {end:%Y-%m-%d}"
        return _failed(
            f"{error.verify_message}{dates}",
            "Renew the peer's TLS certificate or the certificate of its CA; if the dates are "
            "right, check this machine's clock.",
        )
    issuer = ""
    if certificate is not None:
        issuer = f"; it was issued by {certificate.issuer.rfc4514_string()}"
    return _failed(
        f"the peer's certificate was not issued by a CA in tls_ca: {error.verify_message}{issuer}",
        "tls_ca must name the certificate of the TLS CA of the peer's organisation "
        "(msp/tlscacerts), not of the CA of its identities.",
    )


def _refused(error: ssl.SSLError, endpoint: Endpoint) -> FailedStepError:
    """Return the meaning of the peer's TLS alert, or of an answer that is not TLS."""
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if "alert" not in reason:
        return _failed(
            f"not TLS: {reason}",
            "If the peer does not use TLS, write its address as grpc://…; else check the port.",
        )
    if "protocol" in reason:
        return _failed(
            f"the peer refuses: {reason}",
            "It is not a gRPC server, or supports only versions before TLS 1.2.",
        )
    return _client_certificate_refused(endpoint, reason)


def _client_certificate_refused(endpoint: Endpoint, reason: str) -> FailedStepError:
    if endpoint.client_certificate is None:
        return _failed(
            f"the peer demands a client certificate (mutual TLS): {reason}",
            _CLIENT_CERTIFICATE_ADVICE,
        )
    return _failed(
        f"the peer does not accept the client certificate: {reason}",
        "It must be valid now and issued by a CA of the peer's peer.tls.clientRootCAs; the peer's "
        "log says more.",
    )


def _names(certificate: x509.Certificate) -> list[str]:
    """Return the host names and addresses for which the certificate is valid."""
    try:
        alternatives = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound:
        return [
            str(name.value)
            for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        ]
    return [
        *alternatives.get_values_for_type(x509.DNSName),
        *(str(address) for address in alternatives.get_values_for_type(x509.IPAddress)),
    ]


def _failed(detail: str, advice: str) -> FailedStepError:
    return FailedStepError(TLS, detail, advice, Exit.CONFIGURATION)
