"""What a peer's port speaks: TLS that this configuration trusts, another TLS, plaintext HTTP/2, or something else.

With TLS 1.3 a server looks at the client's certificate after the client's handshake is complete, so its refusal comes
in place of the first bytes that are read.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cryptography import x509
from cryptography.x509.oid import NameOID

from cli.doctor.checks import FailedStepError, time_limit
from cli.errors import Exit
from indexer.peer_source import Endpoint

TLS = "tls"

# RFC 9113, 3.4: what a client says first, here with an empty SETTINGS frame. The server's first frame is SETTINGS too.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_FRAME_HEADER_BYTES = 9
_SETTINGS = 4
_UNASKED_S = 1.0
_TLS_ALERT = b"\x15\x03"
# X509_V_ERR_… of OpenSSL.
_NOT_YET_VALID, _EXPIRED = 9, 10
_WRONG_NAME = frozenset({62, 64})

_SILENT = "The port accepts connections but does not answer: is it the peer's gRPC port, and is the peer well?"
_CLIENT_CERTIFICATE = (
    "Set fabric.client_tls_certificate and fabric.client_tls_key to a certificate of a CA that the peer's "
    "peer.tls.clientRootCAs names."
)


async def check_tls(host: str, port: int, endpoint: Endpoint, limit_s: float) -> str:
    """Shakes hands as gRPC would, and says with what. Raises `FailedStepError`."""
    context = _context(endpoint)
    async with time_limit(TLS, limit_s, _SILENT):
        try:
            return await _greet_over_tls(host, port, endpoint, context)
        except ssl.SSLCertVerificationError as error:
            raise _untrusted(error, await _shown_certificate(host, port)) from error
        except ssl.SSLError as error:
            raise _refused(error, endpoint) from error
        except OSError as error:
            raise _failed(
                "the connection was closed during the handshake",
                "If the peer speaks no TLS, its address is grpc://…; if it demands a client certificate: "
                + _CLIENT_CERTIFICATE,
            ) from error


async def check_plaintext(host: str, port: int, limit_s: float) -> str:
    """Greets as HTTP/2 without TLS. Raises `FailedStepError`."""
    async with time_limit(TLS, limit_s, _SILENT):
        try:
            async with _opened(host, port, None, None) as (reader, writer):
                writer.write(_GREETING)
                answer = await _first_frame(reader)
        except OSError:
            answer = b""
    if _is_settings(answer):
        return "no TLS, as configured"
    if not answer or answer.startswith(_TLS_ALERT):
        raise _failed(
            "the connection was closed on plaintext: the peer seems to speak TLS",
            "Use grpcs:// and give tls_ca, the certificate of the peer's TLS CA.",
        )
    raise _failed("not HTTP/2", "Check the port: a peer's gRPC port is 7051 by default.")


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    """As gRPC verifies: against these authorities alone, of which an intermediate one is enough."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["h2"])
    authorities = endpoint.tls_ca
    try:
        pem = (
            authorities
            if isinstance(authorities, bytes)
            else authorities.read_bytes()
            if authorities
            else b""
        )
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


async def _greet_over_tls(host: str, port: int, endpoint: Endpoint, context: ssl.SSLContext) -> str:
    async with _opened(host, port, context, endpoint.tls_name or host) as (reader, writer):
        session: ssl.SSLObject = writer.get_extra_info("ssl_object")
        if session.selected_alpn_protocol() != "h2":
            raise _failed(
                "TLS, but not HTTP/2", "Check the port: a peer's gRPC port is 7051 by default."
            )
        try:
            answer = await _offered_frame(reader, writer)
        except ConnectionError:
            answer = b""
        if not _is_settings(answer):
            raise _closed_after_handshake(endpoint)
        shown = (
            "with the client certificate"
            if endpoint.client_certificate is not None
            else "no client certificate"
        )
        return f"{session.version()}, {shown}"


async def _offered_frame(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """What the server says unasked, as gRPC's do, else in answer to the greeting.

    Bytes on their way to a server that closes the connection could cost us the alert that says why.
    """
    try:
        async with asyncio.timeout(_UNASKED_S):
            return await _first_frame(reader)
    except TimeoutError:
        writer.write(_GREETING)
        return await _first_frame(reader)


async def _first_frame(reader: asyncio.StreamReader) -> bytes:
    """The header of the first frame, or as much of it as came."""
    try:
        return await reader.readexactly(_FRAME_HEADER_BYTES)
    except asyncio.IncompleteReadError as error:
        return error.partial


def _is_settings(frame: bytes) -> bool:
    return len(frame) == _FRAME_HEADER_BYTES and frame[3] == _SETTINGS


@asynccontextmanager
async def _opened(
    host: str, port: int, context: ssl.SSLContext | None, name: str | None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _shown_certificate(host: str, port: int) -> x509.Certificate | None:
    """The certificate that failed, to describe it: nothing is sent over this unverified connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        async with _opened(host, port, context, None) as (_, writer):
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    except OSError:
        return None
    return x509.load_der_x509_certificate(der)


def _untrusted(
    error: ssl.SSLCertVerificationError, shown: x509.Certificate | None
) -> FailedStepError:
    """Why the peer's certificate is not accepted."""
    if error.verify_code in _WRONG_NAME:
        names = f", but for {', '.join(_names(shown))}" if shown is not None else ""
        return _failed(
            f"{error.verify_message.rstrip('.')}{names}",
            "Connect by a name that the certificate has, or set tls_name to one (in a connection profile: grpcOptions, "
            "ssl-target-name-override).",
        )
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        dates = (
            f"; {shown.not_valid_before_utc:%Y-%m-%d} to {shown.not_valid_after_utc:%Y-%m-%d}"
            if shown
            else ""
        )
        return _failed(
            f"{error.verify_message}{dates}",
            "Renew the peer's TLS certificate or its CA's; if the dates are right, check this machine's clock.",
        )
    issuer = f"; it was issued by {shown.issuer.rfc4514_string()}" if shown is not None else ""
    return _failed(
        f"tls_ca does not vouch for the peer's certificate: {error.verify_message}{issuer}",
        "Give in tls_ca the certificate of the TLS CA of the peer's organisation (msp/tlscacerts), not the CA of its "
        "identities.",
    )


def _refused(error: ssl.SSLError, endpoint: Endpoint) -> FailedStepError:
    """What the peer's alert, or an answer that is no TLS, means."""
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if "alert" not in reason:
        return _failed(
            f"not TLS: {reason}",
            "If the peer speaks no TLS, its address is grpc://…; else check the port.",
        )
    if "protocol" in reason:
        return _failed(
            f"the peer refuses: {reason}",
            "It is no gRPC server, or knows only versions before TLS 1.2.",
        )
    return _client_certificate_refused(endpoint, reason)


def _closed_after_handshake(endpoint: Endpoint) -> FailedStepError:
    return _client_certificate_refused(endpoint, "closed right after the handshake")


def _client_certificate_refused(endpoint: Endpoint, reason: str) -> FailedStepError:
    if endpoint.client_certificate is None:
        return _failed(
            f"the peer demands a client certificate (mutual TLS): {reason}", _CLIENT_CERTIFICATE
        )
    return _failed(
        f"the peer does not accept the client certificate: {reason}",
        "It must be valid now and issued by a CA of the peer's peer.tls.clientRootCAs; the peer's log says more.",
    )


def _names(certificate: x509.Certificate) -> list[str]:
    """The names that a client may know the server by."""
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
