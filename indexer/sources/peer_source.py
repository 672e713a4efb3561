"""Blocks from a peer's Deliver service, over gRPC with TLS or mutual TLS.

The rules come from Fabric's `common/deliver`: the statuses, the signed seek request, and the hash
of the client's TLS certificate.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from hashlib import sha256
from pathlib import Path

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.message import DecodeError
from msgspec import Struct

from indexer.sources.block_source import (
    BlockNotAvailableError,
    DeliveredBlock,
    SourceUnavailableError,
    delivered_block,
)
from ledger.decoding.block_identities import BlockIdentity, read_identity
from ledger.decoding.fields import length_delimited_fields
from ledger.errors import CorruptBlockError
from ledger.signing import IdentityError, SigningIdentity
from protos import common_pb2 as common
from protos import events_pb2 as events
from protos import orderer_pb2 as orderer

_SERVICE = events.DESCRIPTOR.services_by_name["Deliver"]
_DELIVER = f"/{_SERVICE.full_name}/Deliver"
_BLOCK = events.DeliverResponse.BLOCK_FIELD_NUMBER
_MAX_MESSAGE_BYTES = 100 << 20
_NO_LIMIT = 2**64 - 1
_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 60_000),  # a peer closes connections with more frequent pings
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),  # else a new connection keeps the old certificates
)
_STATUS_ADVICE = {
    common.BAD_REQUEST: (
        "it rejected the request as malformed: its clock may differ from this machine's clock by "
        "more than 15 minutes, or it requires a client certificate (mutual TLS)"
    ),
    common.FORBIDDEN: (
        "it rejected the identity: its organisation has no read right on the channel, its "
        "certificate is expired or revoked, or the MSP id does not belong to its issuer"
    ),
    common.SERVICE_UNAVAILABLE: "it cannot serve the channel at present",
}
_CONNECTION_ADVICE = {
    "CERTIFICATE_VERIFY_FAILED": (
        "its TLS certificate has expired, or was not issued by the configured tls_ca"
    ),
    "Hostname Verification": (
        "its TLS certificate is for another name; set tls_name to a name in the certificate"
    ),
    "WRONG_VERSION_NUMBER": "it does not use TLS; if this is intended, configure it as grpc://",
    "security handshaker": "tls_ca, or the TLS certificate and key of the client, cannot be used",
    "Socket closed": (
        "it closed the connection; if this repeats, it requires TLS (grpcs://), or it does not "
        "accept the client's TLS certificate: none is configured, it has expired, or another CA "
        "issued it"
    ),
}
"""Advice by a part of gRPC's error details."""


class Endpoint(Struct, frozen=True):
    """A peer's address and TLS files. Without `tls_ca` the connection is plaintext.

    `tls_ca` may also be the PEM bytes themselves. `tls_name` is the name in the peer's certificate,
    if it differs from the address. `label` is the peer's name in the configuration, and `msp_id`
    its organisation, if they are known.
    """

    address: str
    tls_ca: Path | bytes | None = None
    tls_name: str | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    label: str | None = None
    msp_id: str | None = None


class _Credentials(Struct, frozen=True):
    """The identity, certificates and keys (PEM) of one connection, all read at the same time.

    The connection is plaintext if `tls_ca` is None.
    """

    identity: SigningIdentity
    tls_ca: bytes | None
    certificate: bytes | None
    key: bytes | None
    certificate_hash: bytes
    """SHA-256 of the client certificate's DER; a peer that requires mutual TLS compares it."""


class PeerSource:
    """Delivers one channel's blocks from one peer.

    Certificates and keys are read again for every connection, so they can be replaced at any time.
    """

    finite, seeks = False, True

    def __init__(
        self,
        endpoint: Endpoint,
        channel: str,
        identity: Callable[[], SigningIdentity],
    ) -> None:
        self._endpoint, self._channel, self._identity = endpoint, channel, identity
        self.name = endpoint.address
        self.label = endpoint.label
        self.organisation = endpoint.msp_id

    async def blocks(self, start: int, tip: int | None) -> AsyncGenerator[DeliveredBlock, None]:
        """Yield the blocks from the tip on, without end.

        Raises `SourceUnavailableError` when the stream ends.
        """
        first = start if tip is None else tip
        seek = orderer.SeekInfo(
            start=_specified(first),
            stop=_specified(_NO_LIMIT),
            behavior=orderer.SeekInfo.BLOCK_UNTIL_READY,
        )
        try:
            async with aclosing(self._deliver(seek)) as delivery:
                async for delivered in delivery:
                    yield delivered
        except BlockNotAvailableError:
            raise BlockNotAvailableError(
                f"{self.name} has no block {first} of channel {self._channel}: it joined the "
                "channel later, from a snapshot. Use a peer that has the whole ledger. Only an "
                "empty database can begin at a later block: set the channel's start_block"
            ) from None
        raise SourceUnavailableError("ended", f"{self.name} ended the stream of blocks")

    async def newest(self) -> DeliveredBlock:
        """Return the peer's highest block."""
        newest = orderer.SeekPosition(newest=orderer.SeekNewest())
        async with aclosing(self._deliver(orderer.SeekInfo(start=newest, stop=newest))) as delivery:
            async for delivered in delivery:
                return delivered
        raise BlockNotAvailableError(f"{self.name} has no block of channel {self._channel}")

    async def identities(
        self, first: int, last: int | None = None
    ) -> AsyncGenerator[BlockIdentity, None]:
        """Yield the identities of the blocks from `first` on, up to `last` or without end.

        Raises the errors of `blocks`, and `CorruptBlockError` for a block of an unusual form.
        """
        seek = orderer.SeekInfo(
            start=_specified(first),
            stop=_specified(_NO_LIMIT if last is None else last),
            behavior=orderer.SeekInfo.BLOCK_UNTIL_READY,
            content_type=orderer.SeekInfo.HEADER_WITH_SIG,
        )
        async with aclosing(self._deliver(seek)) as delivery:
            async for delivered in delivery:
                yield read_identity(delivered.data, delivered.name)

    async def newest_identity(self) -> BlockIdentity:
        """Return the identity of the peer's highest block."""
        newest = orderer.SeekPosition(newest=orderer.SeekNewest())
        seek = orderer.SeekInfo(
            start=newest, stop=newest, content_type=orderer.SeekInfo.HEADER_WITH_SIG
        )
        async with aclosing(self._deliver(seek)) as delivery:
            async for delivered in delivery:
                return read_identity(delivered.data, delivered.name)
        raise BlockNotAvailableError(f"{self.name} has no block of channel {self._channel}")

    async def _deliver(self, seek: orderer.SeekInfo) -> AsyncGenerator[DeliveredBlock, None]:
        credentials = await asyncio.to_thread(self._credentials)
        async with self._connected(credentials) as connection:
            deliver: grpc.aio.StreamStreamMultiCallable[common.Envelope, bytes] = (
                connection.stream_stream(_DELIVER, common.Envelope.SerializeToString)
            )
            call = deliver()
            try:
                await call.write(self._seek_envelope(seek, credentials))
                previous = "the seek request"
                async for response_bytes in call:
                    delivered = self._block_in(response_bytes, previous)
                    if delivered is None:
                        return
                    previous = f"block {delivered.number}"
                    yield delivered
            except grpc.aio.AioRpcError as error:
                raise self._unavailable(error) from error
            finally:
                call.cancel()

    def _credentials(self) -> _Credentials:
        endpoint = self._endpoint
        try:
            certificate = _read_file(endpoint.client_certificate)
            return _Credentials(
                identity=self._identity(),
                tls_ca=_read_file(endpoint.tls_ca),
                certificate=certificate,
                key=_read_file(endpoint.client_key),
                certificate_hash=_certificate_hash(certificate),
            )
        except (OSError, ValueError, IdentityError) as error:
            raise SourceUnavailableError(
                "credentials",
                f"{self.name}: not connected: a certificate or key cannot be used: {error}. "
                "Correct the files; they are read again at every attempt",
            ) from error

    @asynccontextmanager
    async def _connected(self, credentials: _Credentials) -> AsyncIterator[grpc.aio.Channel]:
        endpoint = self._endpoint
        options: list[tuple[str, int | str]] = list(_CHANNEL_OPTIONS)
        if credentials.tls_ca is None:
            channel = grpc.aio.insecure_channel(endpoint.address, options)
        else:
            if endpoint.tls_name is not None:
                options.append(("grpc.ssl_target_name_override", endpoint.tls_name))
            tls = grpc.ssl_channel_credentials(
                credentials.tls_ca, credentials.key, credentials.certificate
            )
            channel = grpc.aio.secure_channel(endpoint.address, tls, options)
        try:
            yield channel
        finally:
            await channel.close()

    def _seek_envelope(self, seek: orderer.SeekInfo, credentials: _Credentials) -> common.Envelope:
        identity = credentials.identity
        header = common.ChannelHeader(
            type=common.DELIVER_SEEK_INFO,
            channel_id=self._channel,
            tls_cert_hash=credentials.certificate_hash,
        )
        header.timestamp.GetCurrentTime()
        signature_header = common.SignatureHeader(creator=identity.creator, nonce=os.urandom(24))
        payload = common.Payload(
            header=common.Header(
                channel_header=header.SerializeToString(),
                signature_header=signature_header.SerializeToString(),
            ),
            data=seek.SerializeToString(),
        ).SerializeToString()
        return common.Envelope(payload=payload, signature=identity.sign(payload))

    def _block_in(self, response_bytes: bytes, previous: str) -> DeliveredBlock | None:
        """Return the block in a response; None for the status that ends a complete sequence.

        `previous` says in messages what came before the response. Raises `SourceUnavailableError`
        for any other status, and `CorruptBlockError` for bytes that are not a response.
        """
        fields = length_delimited_fields(memoryview(response_bytes))
        if fields is not None and fields.keys() == {_BLOCK}:
            return delivered_block(fields[_BLOCK], f"{self.name} after {previous}")
        try:
            response = events.DeliverResponse.FromString(response_bytes)
        except DecodeError:
            got = f"{len(response_bytes)} bytes that do not parse"
            raise CorruptBlockError(
                None, f"response of {self.name} after {previous}", "a DeliverResponse", got
            ) from None
        kind = response.WhichOneof("Type")
        if kind == "block":
            block_bytes = response.block.SerializeToString()
            return delivered_block(block_bytes, f"{self.name} after {previous}")
        if kind != "status":
            raise SourceUnavailableError(
                "protocol", f"{self.name} responded with neither a block nor a status"
            )
        if response.status == common.SUCCESS:
            return None
        if response.status == common.NOT_FOUND:
            raise BlockNotAvailableError(
                f"{self.name}: channel not found: the peer has not joined {self._channel}"
            )
        advice = _STATUS_ADVICE.get(response.status, "an unexpected status")
        raise SourceUnavailableError(
            f"status_{response.status}", f"{self.name}: {advice} (status {response.status})"
        )

    def _unavailable(self, error: grpc.aio.AioRpcError) -> SourceUnavailableError:
        code, details = error.code(), error.details() or ""
        advice = next(
            (f"{advice}: " for part, advice in _CONNECTION_ADVICE.items() if part in details), ""
        )
        return SourceUnavailableError(
            code.name.lower(), f"{self.name}: {advice}{code.name}: {details}"
        )


def _specified(number: int) -> orderer.SeekPosition:
    return orderer.SeekPosition(specified=orderer.SeekSpecified(number=number))


def _certificate_hash(pem: bytes | None) -> bytes:
    return (
        b""
        if pem is None
        else sha256(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)).digest()
    )


def _read_file(path: Path | bytes | None) -> bytes | None:
    return path.read_bytes() if isinstance(path, Path) else path
